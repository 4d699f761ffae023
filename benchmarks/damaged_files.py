r"""Damages files of every kind that is read, and counts what comes of it: cut short at any byte, or one bit flipped.

    python benchmarks/damaged_files.py --n 600 --out damaged      # 23 kinds; goes on where it was stopped

A file is to be refused with a sentence (UserError) or read as before. Other content is a fault where a checksum inside the
file covers the damaged byte, and wherever the file is cut short. Elsewhere nobody can see the damage: it is counted apart.
Exit status 1 where there are faults; FOLDER/KIND.faults holds them.
"""

import argparse
import logging
import random
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from autoseg.base.errors import AutosegError
from autoseg.formats import read_image
from autoseg.formats.arrays import read_features
from autoseg.grids.geometry import Geometry
from damage_parts.child import FAULTS, OTHER, REFUSED, SAME, TRACEBACK, UNSEEN, Judge, run_guarded, run_here
from damage_parts.samples import SAMPLES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=600, help="damaged files per kind")
    parser.add_argument("--kind", action="append", choices=sorted(SAMPLES), help="only this kind; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("damaged_files"), help="outcomes, kept")
    parser.add_argument("--child", choices=sorted(SAMPLES), help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.child:
        with tempfile.TemporaryDirectory() as folder:
            run_here(options.child, judge_of(options.child, Path(folder)), options.n, options.seed, options.out)
        return
    print("| kind | refused | as before | other, no checksum | other in silence | traceback | crash, hang, memory |")
    print("|---|---|---|---|---|---|---|")
    n_faults = 0
    for kind in options.kind or SAMPLES:
        counts = run_guarded(Path(__file__), kind, options.n, options.seed, options.out)
        rest = sum(counts[letter] for letter in FAULTS) - counts[OTHER] - counts[TRACEBACK]
        n_faults += rest + counts[OTHER] + counts[TRACEBACK]
        print(f"| {kind} | {counts[REFUSED]} | {counts[SAME]} | {counts[UNSEEN]} | {counts[OTHER]} | {counts[TRACEBACK]} "
              f"| {rest} |", flush=True)
    sys.exit(n_faults > 0)


def judge_of(kind: str, folder: Path) -> Judge:
    """Damages the kind's sample file and says what reading it gives."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    sample = SAMPLES[kind]
    path = sample.write(folder)
    victim = folder / sample.damaged if sample.damaged else path
    whole, expected = victim.read_bytes(), read(path)
    covered = sample.covered(whole)

    def judge(chance: random.Random) -> tuple[str, str]:
        is_cut, at = chance.random() < 1 / 3, chance.randrange(len(whole))
        content = bytearray(whole[:at] if is_cut else whole)
        if not is_cut:
            content[at] ^= 1 << chance.randrange(8)
        victim.write_bytes(content)
        try:
            values, geometry = read(path)
        except AutosegError as error:
            return (REFUSED, "") if path.name in str(error) else (TRACEBACK, f"the file is not named: {error}")
        if geometry == expected[1] and np.array_equal(values, expected[0], equal_nan=True):
            return SAME, ""
        is_seen = is_cut or any(start <= at < end for start, end in covered)
        return OTHER if is_seen else UNSEEN, f"{'cut' if is_cut else 'flipped'} at byte {at} of {len(whole)}"

    return judge


def read(path: Path) -> tuple[np.ndarray, Geometry | None]:
    return (read_features(path, axes=1), None) if path.suffix == ".npy" else read_image(path)


if __name__ == "__main__":
    main()
