r"""Damages every kind of file that autoseg itself wrote, and counts what comes of reading it: cut short, or one bit flipped.

    python benchmarks/damaged_artefacts.py --n 500 --out damaged      # 27 kinds; goes on where it was stopped

A damaged file is to be refused with a sentence that names it (UserError), repaired or made again with a warning that names
it, read as before (the damage was in a space), or, where people may edit it, used with a warning that names it. Anything
else is a fault: exit status 1, and FOLDER/KIND.faults holds it.
"""

import argparse
import logging
import random
import shutil
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from autoseg.base.errors import AutosegError
from autoseg.workspace import files
from autoseg.workspace.names import Workspace
from damage_parts.artefacts import ARTEFACTS
from damage_parts.child import FAULTS, OTHER, REFUSED, SAME, TRACEBACK, Judge, run_guarded, run_here
from damage_parts.workspace import write_workspace

REPAIRED, WARNED = "pw"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=500, help="damaged files per kind")
    parser.add_argument("--kind", action="append", choices=sorted(ARTEFACTS), help="only this kind; may be repeated")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("damaged_artefacts"), help="outcomes, kept")
    parser.add_argument("--child", choices=sorted(ARTEFACTS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    home = (options.out / "workspace").resolve()
    if options.child:
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(home, Path(folder) / "home")
            run_here(options.child, judge_of(options.child, Workspace(Path(folder) / "home")), options.n, options.seed,
                     options.out)
        return
    if not (home / "masks" / "labels.json").is_file():
        write_workspace(home)
    print("| kind | refused | repaired, made again | as before | edited, warned of | other in silence | traceback "
          "| crash, hang, memory |")
    print("|---|---|---|---|---|---|---|---|")
    n_faults = 0
    for kind in options.kind or ARTEFACTS:
        counts = run_guarded(Path(__file__), kind, options.n, options.seed, options.out)
        faults = sum(counts[letter] for letter in FAULTS)
        n_faults += faults
        cells = [*(counts[letter] for letter in (REFUSED, REPAIRED, SAME, WARNED, OTHER, TRACEBACK)),
                 faults - counts[OTHER] - counts[TRACEBACK]]
        print(f"| {kind} | {' | '.join(map(str, cells))} |", flush=True)
    sys.exit(n_faults > 0)


class _Said(logging.Handler):
    """What is logged, as one text."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text += record.getMessage() + "\n"


def judge_of(kind: str, workspace: Workspace) -> Judge:
    """Damages the kind's file and says what the operation that reads it gives."""
    warnings.simplefilter("ignore")
    artefact = ARTEFACTS[kind]
    victim = artefact.victim(workspace)
    whole, expected = victim.read_bytes(), artefact.read(workspace)
    logger, said = logging.getLogger("autoseg"), _Said()

    def judge(chance: random.Random) -> tuple[str, str]:
        is_cut, at = chance.random() < 1 / 3, chance.randrange(len(whole))
        content = bytearray(whole[:at] if is_cut else whole)
        if not is_cut:
            content[at] ^= 1 << chance.randrange(8)
        what = f"{'cut' if is_cut else 'flipped'} at byte {at} of {len(whole)}"
        victim.write_bytes(content)
        files._warn_once.cache_clear()
        said.text = ""
        logger.addHandler(said)
        try:
            value = artefact.read(workspace)
        except AutosegError as error:
            return (REFUSED, "") if victim.name in str(error) else (TRACEBACK, f"{what}: the file is not named: {error}")
        finally:
            logger.removeHandler(said)
            for copy in victim.parent.glob(f"{victim.stem}_[0-9]*{victim.suffix}"):
                if copy.name not in artefact.beside:
                    copy.unlink()
            victim.write_bytes(whole)
        is_same, is_named = alike(value, expected), victim.name in said.text
        if is_same:
            return (REPAIRED if is_named else SAME), ""
        if is_named and artefact.is_warning_enough:
            return WARNED, ""
        return OTHER, f"{what}: {said.text}"

    return judge


def alike(one: Any, other: Any) -> bool:
    """Whether two values are the same, arrays within them too."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other, equal_nan=np.asarray(one).dtype.kind == "f")
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(map(alike, one, other))
    return bool(one == other)


if __name__ == "__main__":
    main()
