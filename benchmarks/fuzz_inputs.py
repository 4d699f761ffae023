r"""Reads mutated inputs of every kind, and counts what comes of them: no traceback, no hang, little memory.

    python benchmarks/fuzz_inputs.py --n 8000 --out fuzzed                 # per kind; goes on where it was stopped
    python benchmarks/fuzz_inputs.py --n 20000 --kind png --seed 1

An input is to be read, or refused with a sentence (UserError), within 5 seconds and 1 GB. Exit status 1 where one was not;
FOLDER/KIND.faults holds what came instead, with the index of each.
"""

import argparse
import contextlib
import dataclasses
import gzip
import json
import logging
import os
import random
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from autoseg.base.errors import AutosegError
from autoseg.clinical.table import read_table
from autoseg.datasets.dataset import read_manifest
from autoseg.formats import read_header, read_image, read_label, write_array
from autoseg.formats.arrays import features_shape, read_features
from autoseg.workspace.files import read_json, read_model
from damage_parts.child import FAULTS, REFUSED, SAME, TRACEBACK, Judge, run_guarded, run_here
from damage_parts.mutate import mutated
from damage_parts.samples import SAMPLES, SOLID, voxels
from planners import PLANNERS
from planners.schema.channels import ChannelSpec
from planners.schema.fingerprint import CaseMeasure, Fingerprint
from planners.schema.hardware import GIB, Budget, KnownHardware
from planners.schema.labels import LabelSpec
from planners.schema.plan import Plan

MANIFEST = {"channel_names": {"0": "CT", "1": "MR"}, "labels": {"background": 0, "organ": [1, 2], "tumour": 2, "ignore": 3},
            "regions_class_order": [1, 2], "numTraining": 3, "file_ending": ".nii.gz", "name": "sample",
            "conditions": {"table": "clinical.csv", "columns": {"age": {"kind": "number"}}}}
TABLE = "case;age;sex;stage\nc0;63;f;II\nc1;45,5;m;III\n\"c2\";;f;IV\n"


@dataclasses.dataclass(frozen=True)
class Target:
    """An input of a kind: its whole content, how many of its bytes are its header, and what reads it."""

    name: str
    content: bytes
    header_bytes: int
    read: Callable[[Path], object]
    is_text: bool = False
    finish: Callable[[bytes], bytes] = bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=8000, help="inputs per kind")
    parser.add_argument("--kind", action="append", choices=sorted(MAKERS), help="only this kind; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("fuzz_inputs"), help="outcomes, kept")
    parser.add_argument("--child", choices=sorted(MAKERS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.child:
        with tempfile.TemporaryDirectory() as folder:
            run_here(options.child, judge_of(options.child, Path(folder)), options.n, options.seed, options.out)
        return
    print("| kind | inputs | refused | read | traceback | crash, hang, memory |\n|---|---|---|---|---|---|")
    n_faults = 0
    for kind in options.kind or MAKERS:
        counts = run_guarded(Path(__file__), kind, options.n, options.seed, options.out)
        faults = sum(counts[letter] for letter in FAULTS)
        n_faults += faults
        print(f"| {kind} | {counts.total()} | {counts[REFUSED]} | {counts[SAME]} | {counts[TRACEBACK]} "
              f"| {faults - counts[TRACEBACK]} |", flush=True)
    sys.exit(n_faults > 0)


def judge_of(kind: str, folder: Path) -> Judge:
    """Mutates the kind's input and says what reading it gives."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # libtiff and ITK write there what they think
    target = MAKERS[kind](folder)
    path = folder / target.name

    def judge(chance: random.Random) -> tuple[str, str]:
        path.write_bytes(target.finish(mutated(target.content, chance, target.header_bytes, target.is_text)))
        try:
            target.read(path)
        except AutosegError as error:
            return (REFUSED, "") if folder.name in str(error) else (TRACEBACK, f"the file is not named: {error}")
        return SAME, ""

    return judge


def read_as_anything(path: Path) -> None:
    """As verifying does: the header, then the voxels as an image and as a label."""
    read_header(path)
    image_CDHW, _ = read_image(path)
    if len(image_CDHW) == 1:
        with contextlib.suppress(AutosegError):
            read_label(path)


def _image(sample: str, header_bytes: int, is_text: bool = False) -> Callable[[Path], Target]:
    def make(folder: Path) -> Target:
        path = SAMPLES[sample].write(folder)
        return Target(path.name, path.read_bytes(), header_bytes, read_as_anything, is_text)
    return make


def _gzipped_header(folder: Path) -> Target:
    """The content of a gzip is mutated, then packed with the right checksum."""
    write_array(folder / "whole.nii", voxels(SOLID, dtype=np.int16), SOLID)
    return Target("a.nii.gz", (folder / "whole.nii").read_bytes(), 352, read_as_anything,
                  finish=lambda content: gzip.compress(content, 1))


def _png(sample: str, header_bytes: int) -> Callable[[Path], Target]:
    """Half of the mutated pictures get the right checksums again, so that what lies behind them is reached, too."""
    def repaired(content: bytes) -> bytes:
        start, parts = 8, [content[:8]]
        while sum(content) % 2 and start + 12 <= len(content):
            end = start + 8 + int.from_bytes(content[start:start + 4], "big")
            parts += [content[start:end], zlib.crc32(content[start + 4:end]).to_bytes(4, "big")]
            start = end + 4
        return b"".join(parts) + content[start if len(parts) > 1 else 8:]

    return lambda folder: dataclasses.replace(_image(sample, header_bytes)(folder), finish=repaired)


def _spacing(folder: Path) -> Target:
    write_array(folder / "a.tif", voxels(SOLID), SOLID)
    return Target("a.json", (folder / "a.json").read_bytes(), 1000, lambda path: read_header(path.with_suffix(".tif")), True)


def _numbers(folder: Path) -> Target:
    path = SAMPLES["npy"].write(folder)
    return Target(path.name, path.read_bytes(), 128, lambda path: (features_shape(path), read_features(path, axes=1)), True)


def _manifest(folder: Path) -> Target:
    return Target("dataset.json", json.dumps(MANIFEST, indent=1).encode(), 10_000, read_manifest, True)


def _plan(folder: Path) -> Target:
    cases = [CaseMeasure(case=f"c{i}", shape=(40, 60, 60), spacing_mm=(2.0, 1.0, 1.0), relative_size=0.8) for i in range(3)]
    fingerprint = Fingerprint(dataset="Dataset001_Sample", channels=[ChannelSpec(name="MR")], cases=cases,
                              labels=LabelSpec(names={"background": (0,), "organ": (1,)}))
    hardware = KnownHardware(memory_bytes=8 * GIB, flops_per_s=1e12, cores=8)
    plan = PLANNERS.get("classic")(fingerprint, hardware, Budget())
    return Target("plan.json", plan.model_dump_json(indent=1).encode(), 100_000, lambda path: read_model(path, Plan), True)


def _table(folder: Path) -> Target:
    return Target("clinical.csv", TABLE.encode(), 1000, read_table, True)


def _workbook(folder: Path) -> Target:
    import pandas

    pandas.DataFrame({"case": ["c0", "c1"], "age": [63, 45.5]}).to_excel(folder / "clinical.xlsx", index=False)
    return Target("clinical.xlsx", (folder / "clinical.xlsx").read_bytes(), 100_000, read_table)


def _json(folder: Path) -> Target:
    return Target("any.json", json.dumps(MANIFEST).encode(), 10_000, read_json, True)


MAKERS = {
    "dataset.json": _manifest, "plan": _plan, "table": _table, "workbook": _workbook, "json": _json,
    "nii": _image("nii", 352), "nii.gz": _gzipped_header, "nrrd": _image("nrrd", 400, True),
    "nrrd, raw": _image("nrrd, raw", 400, True), "mha": _image("mha", 400, True), "mhd": _image("mhd", 400, True),
    "png": _png("png", 100), "png, palette": _png("png, palette", 900),
    "png, RGB of 16 bits": _png("png, RGB of 16 bits", 100), "bmp": _image("bmp", 54),
    "jpg": _image("jpg", 700), "tif": _image("tif, deflate", 400), "tif, LZW": _image("tif, LZW", 400),
    "tif, fax": _image("tif, fax", 400), "tif, palette": _image("tif, palette", 2000), "spacing of a tif": _spacing,
    "npy": _numbers,
}


if __name__ == "__main__":
    main()
