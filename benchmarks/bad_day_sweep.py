r"""Kills the commands of a tiny dataset at every point where they change the disk, and lets every write fail once; then runs
the same command again and compares all files with those of an undisturbed run.

    python benchmarks/bad_day_sweep.py --out bad_days --seconds 360      # as long as you like; goes on where it was stopped

At each point a command is killed, and its call fails as on a full or failing disk; at each opened file it is killed while it
writes, and every further byte is refused. Besides, it is killed at random times. The table counts what is left to try, too.
Exit status 1 where there are faults; they are in FOLDER/outcomes.jsonl.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from bad_day_stages import STAGES, Stage, undisturbed  # noqa: E402
from bad_days import FAILED, FULL, KILLED, TORN, fault_after, points_of  # noqa: E402

AT_A_TIME = "at a time"
_RANDOM_TIMES = 15  # per stage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", action="append", choices=list(STAGES), help="only this stage; may be repeated")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop then")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("bad_days"), help="outcomes, kept")
    options = parser.parse_args()
    ends = time.monotonic() + options.seconds
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "outcomes.jsonl"
    done = {tuple(entry["trial"]): entry["fault"] for entry in _read(path)}
    with tempfile.TemporaryDirectory() as folder:
        stages = undisturbed(Path(folder), tuple(options.stage or STAGES))
        trials, seconds = [], {}
        for name, stage in stages.items():
            started = time.monotonic()
            kinds = points_of(stage.command, stage.before, stage.root)
            seconds[name] = time.monotonic() - started
            trials += [(name, what, at) for at, kind in enumerate(kinds, 1) for what in _whats(kind)]
            trials += [(name, AT_A_TIME, number) for number in range(_RANDOM_TIMES)]
        chance = random.Random(options.seed)
        chance.shuffle(trials)
        for trial in trials:
            if trial not in done and time.monotonic() < ends:
                done[trial] = _try(stages[trial[0]], trial, seconds[trial[0]])
                with open(path, "a") as file:
                    file.write(json.dumps({"trial": trial, "fault": done[trial]}) + "\n")
    print(_table(trials, done))
    sys.exit(any(done.get(trial) for trial in trials))


def _whats(kind: str) -> tuple[str, ...]:
    if kind in ("unlink", "rmdir"):
        return (KILLED,)
    return (KILLED, TORN, FAILED, FULL) if kind == "open" else (KILLED, FAILED)


def _try(stage: Stage, trial: tuple[str, str, int], seconds: float) -> str:
    _, what, at = trial
    if what == AT_A_TIME:
        after = random.Random(str(trial)).uniform(0.02, seconds)
        return fault_after(stage.command, stage.before, stage.root, stage.expected, 0, "", after)
    return fault_after(stage.command, stage.before, stage.root, stage.expected, at, what)


def _table(trials: list, done: dict) -> str:
    lines = ["| stage | what | points | tried | as undisturbed |", "|---|---|---|---|---|"]
    for name, what in [(name, what) for name in STAGES for what in (KILLED, TORN, AT_A_TIME, FAILED, FULL)]:
        mine = [trial for trial in trials if trial[:2] == (name, what)]
        tried = [done[trial] for trial in mine if trial in done]
        lines.append(f"| {name} | {what} | {len(mine)} | {len(tried)} | {sum(not fault for fault in tried)} |")
    return "\n".join(lines)


def _read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


if __name__ == "__main__":
    main()
