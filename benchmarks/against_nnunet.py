"""Measures autoseg and nnU-Net side by side, on the same machine and cases, in turn, and writes one Markdown table.

    python benchmarks/against_nnunet.py --home against --data ../shared/data
    python benchmarks/against_nnunet.py --home against --data ../shared/data --only prepare help --reference PYTHON
    python benchmarks/against_nnunet.py --home try --data ../shared/data --repeats 1 --hippocampi 5 --ct-cases 2 --small

`--reference` is an interpreter that has nnunetv2; without it a virtual environment is made in --home, once. DATA
holds Dataset004_Hippocampus and Dataset010_STS. Stages:
{stages}.

Every measurement is kept under --home: the same command again goes on where it was stopped, and one with --only adds its
rows to the table, HOME/table.md. Numbers of cases and repeats must stay the same for that; --again measures the chosen
stages anew. Exit status 1 where a stage failed. Run it on a machine that does nothing else.
"""

import argparse
import json
import shutil
import signal
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.against import stages_predict, stages_prepare, stages_train
from benchmarks.against.bench import Bench
from benchmarks.against.reference import facts_of, find_interpreter
from benchmarks.against.table import Row, report

STAGES = {"help": stages_prepare.help_texts, "planning": stages_prepare.planning, "prepare": stages_prepare.prepare,
          "ct": stages_prepare.ct, "disk": stages_prepare.disk, "step": stages_train.step, "batch": stages_train.batch,
          "predict": stages_predict.predict, "export": stages_predict.export, "memory": stages_predict.memory,
          "dice": stages_train.dice}


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    home = options.home.absolute()
    reference = find_interpreter(options.reference, home / "nnunet")
    bench = Bench(home=home, data=options.data.absolute(), reference=reference, repeats=options.repeats,
                  hippocampi=options.hippocampi, ct_cases=options.ct_cases, sarcomas=options.sarcomas,
                  predicted=options.predicted, small=options.small, threads=options.threads, steps=options.steps,
                  budget=options.budget, reference_log=options.reference_log)
    failed = [name for name in options.only if not run(bench, name, again=options.again)]
    table = report(rows_of(home), facts_of(reference, options.repeats))
    (home / "table.md").write_text(table, encoding="utf-8")
    print(f"\n{table}\nwritten to {home / 'table.md'}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def run(bench: Bench, name: str, *, again: bool) -> bool:
    """Measure a stage and keep its rows; a stage that fails leaves the others alone."""
    if again:
        shutil.rmtree(bench.home / "measured" / name, ignore_errors=True)
    print(f"{name}:", flush=True)
    try:
        rows = STAGES[name](bench)
    except Exception:  # whatever it is, the other stages are worth measuring
        traceback.print_exc()
        return False
    path = bench.home / "rows" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([row.to_plain() for row in rows], indent=1), encoding="utf-8")
    return True


def rows_of(home: Path) -> list[Row]:
    """The rows of every stage that was measured, in the order of the stages."""
    files = [home / "rows" / f"{name}.json" for name in STAGES]
    return [Row(**row) for path in files if path.is_file() for row in json.loads(path.read_text(encoding="utf-8"))]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.replace("{stages}", ", ".join(STAGES)),
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="folder that keeps everything")
    parser.add_argument("--data", type=Path, required=True, help="folder of real datasets")
    parser.add_argument("--reference", type=Path, metavar="PYTHON", help="interpreter with nnunetv2")
    parser.add_argument("--only", nargs="+", choices=list(STAGES), default=[*STAGES], metavar="STAGE")
    parser.add_argument("--again", action="store_true", help="measure the chosen stages anew")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--hippocampi", type=int, default=200, help="cases of `prepare`, and of the stages that train")
    parser.add_argument("--ct-cases", type=int, default=8, help="cases of `ct`")
    parser.add_argument("--sarcomas", type=int, default=31, help="cases of `disk`")
    parser.add_argument("--predicted", type=int, default=60, help="cases of `predict`")
    parser.add_argument("--small", action="store_true", help="synthetic images of a quarter of each edge, to try it out")
    parser.add_argument("--threads", type=int, default=2, help="of `step`, in both")
    parser.add_argument("--steps", type=int, default=5, help="of `step` in a process, after two that warm up")
    parser.add_argument("--budget", default="5m", help="of our training in `dice`")
    parser.add_argument("--reference-log", type=Path, metavar="FILE",
                        help="training_log_*.txt of nnU-Net on this fold, from any machine, for `dice`")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is being measured must not outlive this process
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")
