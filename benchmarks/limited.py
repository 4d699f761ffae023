r"""Runs preparing, a very short training, prediction and evaluation under a memory limit, and prints what came of each.

    python benchmarks/limited.py 4G ../shared/data/Dataset010_STS --home limited --budget 60s --cases 2 \
        --declare '{"reference_channel": "CT"}'

Where systemd can be asked, each command runs in a scope with `MemoryMax` and no swap, so that the kernel ends what exceeds
it. Elsewhere every process gets the limit as RLIMIT_DATA, and this script ends the largest process of the tree where all of
them together hold more, as the kernel would. Memory is what a process holds for itself: shared libraries are left out.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from autoseg.cli.common import memory
from autoseg.datasets.dataset import Dataset
from autoseg.workspace.files import read_json
from speedrun_parts.raw import link_dataset

ROOT = Path(__file__).resolve().parents[1]
SECONDS_BETWEEN_LOOKS = 0.1


@dataclass
class Watched:
    """What a command did under the limit."""

    stage: str
    status: int
    seconds: float
    peak_bytes: int
    processes: int
    ended: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("limit", type=memory, help="such as 4G")
    parser.add_argument("dataset", type=Path, help="a raw dataset's folder")
    parser.add_argument("--home", type=Path, required=True, help="workspace, kept")
    parser.add_argument("-c", "--configuration", default="3d_fullres")
    parser.add_argument("--budget", default="60s", help="of the training")
    parser.add_argument("--cases", type=int, default=2, help="cases that are predicted")
    parser.add_argument("--declare", type=json.loads, default={}, metavar="JSON", help="added to dataset.json")
    parser.add_argument("--workers", default="2")
    parser.add_argument("--only", nargs="+", default=[], choices=("prepare", "train", "predict", "evaluate"))
    options = parser.parse_args()
    raw = options.home.resolve() / "raw" / options.dataset.name
    link_dataset(options.dataset, raw, options.declare)
    limit = "a systemd scope" if has_scopes() else "RLIMIT_DATA and this script"
    done = [watch(stage, command, options.limit) for stage, command in stages(options, raw).items()
            if not options.only or stage in options.only]
    print(f"\n{options.dataset.name}, {len(case_names(raw))} cases, limit {options.limit / 2**30:.1f} GiB by {limit}\n")
    print("| stage | outcome | seconds | peak MiB | processes | ended for memory |\n|---|---|---|---|---|---|")
    for result in done:
        outcome = "completed" if result.status == 0 else f"status {result.status}"
        print(f"| {result.stage} | {outcome} | {result.seconds:.0f} "
              f"| {result.peak_bytes / 2**20:.0f} | {result.processes} | {result.ended} |")
    sys.exit(max(abs(result.status) for result in done))


def case_names(raw: Path) -> list[str]:
    return Dataset.open(raw).names


def stages(options: argparse.Namespace, raw: Path) -> dict[str, list[str]]:
    home = options.home.resolve()
    images, masks = home / "to_predict", home / "predicted"
    if not images.exists():
        images.mkdir()
        for files in Dataset.open(raw).cases[:options.cases]:
            for path in files.images:
                if path is not None:
                    (images / path.name).symlink_to(path.resolve())
    where, name = ["--home", str(home)], options.dataset.name
    truth = home / "true"
    if not truth.exists():
        truth.mkdir()
        ending = read_json(raw / "dataset.json")["file_ending"]
        for case in case_names(raw)[:options.cases]:
            (truth / f"{case}{ending}").symlink_to((raw / "labelsTr" / f"{case}{ending}").resolve())
    begin = [sys.executable, "-m"]
    return {"prepare": [*begin, "autoseg.cli.plan_and_preprocess", "-d", name, "-c", options.configuration, "--budget",
                        options.budget, "--workers", options.workers, *where],
            "train": [*begin, "autoseg.cli.train", name, options.configuration, "0", *where],
            "predict": [*begin, "autoseg.cli.predict", "-i", str(images), "-o", str(masks), "-d", name, "-c",
                        options.configuration, "-f", "0", *where],
            "evaluate": [*begin, "autoseg.cli.evaluate", "-r", str(truth), "-i", str(masks), "-d", name, *where]}


def has_scopes() -> bool:
    if shutil.which("systemd-run") is None:
        return False
    return subprocess.run(scope(2**30, ["true"]), capture_output=True).returncode == 0


def scope(limit_bytes: int, command: list[str]) -> list[str]:
    user = [] if os.geteuid() == 0 else ["--user"]
    return ["systemd-run", *user, "--scope", "--quiet", "-p", f"MemoryMax={limit_bytes}", "-p", "MemorySwapMax=0", *command]


def watch(stage: str, command: list[str], limit_bytes: int) -> Watched:
    """Run a command and look at its processes until it ends."""
    scoped = has_scopes()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    started = time.monotonic()
    process = subprocess.Popen(scope(limit_bytes, command) if scoped else command, env=environment,
                               preexec_fn=None if scoped else lambda: limit_data(limit_bytes))
    peak, most, ended = 0, 0, 0
    while process.poll() is None:
        held = held_bytes(process.pid)
        peak, most = max(peak, sum(held.values())), max(most, len(held))
        if not scoped and sum(held.values()) > limit_bytes:
            ended += end(max(held, key=held.__getitem__))
        time.sleep(SECONDS_BETWEEN_LOOKS)
    return Watched(stage, process.returncode, time.monotonic() - started, peak, most, ended)


def limit_data(limit_bytes: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (limit_bytes, limit_bytes))


def held_bytes(root: int) -> dict[psutil.Process, int]:
    """What each process of a tree holds for itself."""
    held = {}
    try:
        tree = [psutil.Process(root), *psutil.Process(root).children(recursive=True)]
    except psutil.NoSuchProcess:
        return held
    for process in tree:
        try:
            used = process.memory_info()
            held[process] = used.rss - getattr(used, "shared", 0)
        except psutil.NoSuchProcess:
            continue
    return held


def end(process: psutil.Process) -> int:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return 0
    return 1


if __name__ == "__main__":
    main()
