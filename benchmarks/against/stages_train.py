"""Stages of training: one step, one batch, and the time to a validation Dice."""

import json
import math
import re
from pathlib import Path

from .bench import Bench, Measured, middle, plain
from .cases import link_dataset
from .stages_prepare import HIPPOCAMPUS, trained_on
from .table import Row

DICE = 0.85
ITERATIONS_PER_EPOCH = 250  # nnU-Net's
_WARM_UP = 2


def step(bench: Bench) -> list[Row]:
    """One training step with its batch; nnU-Net's batches made in its process, and by its worker processes."""
    workspace, dataset = trained_on(bench)
    job = {"dataset": dataset, "threads": bench.threads, "warm_up": min(_WARM_UP, bench.steps), "steps": bench.steps}
    results = bench.sequential(
        "step", ours=lambda: workspace.our_worker("step", **job),
        theirs=lambda: workspace.their_worker("step", {"nnUNet_n_proc_DA": "0"}, **job),
        workers=lambda: workspace.their_worker("step", {"nnUNet_n_proc_DA": "2"}, **job))
    ours = results["ours"]
    what = f"one training step, batch {'x'.join(map(str, ours[0]['batch']))}, classic plan, {bench.threads} threads"
    return [Row(f"{what}; nnU-Net {mode}", middle(ours), middle(theirs), target=0.85, our_peak=middle(ours, "peak_bytes"),
                their_peak=middle(theirs, "peak_bytes"), remark=_split(ours, theirs))
            for mode, theirs in (("augments in its process", results["theirs"]),
                                ("augments in 2 worker processes", results["workers"]))]


def _split(ours: list[Measured], theirs: list[Measured]) -> str:
    parts = [f"{name}: batch {middle(results, 'loading_seconds'):.2f} s, network "
             f"{middle(results) - middle(results, 'loading_seconds'):.2f} s, {results[0]['parameters']} parameters"
             for name, results in (("ours", ours), ("nnU-Net", theirs))]
    same = "" if ours[0]["batch"] == theirs[0]["batch"] else f"; BATCHES DIFFER: nnU-Net's is {theirs[0]['batch']}"
    return f"{'; '.join(parts)}; ours in {ours[0]['precision']}{same}"


def batch(bench: Bench) -> list[Row]:
    """Loading and augmenting a batch on one core."""
    workspace, dataset = trained_on(bench)
    job = {"dataset": dataset, "warm_up": _WARM_UP, "steps": 2 * bench.steps}
    results = bench.sequential("batch", ours=lambda: workspace.our_worker("batch", **job),
                            theirs=lambda: workspace.their_worker("batch", {"nnUNet_n_proc_DA": "0"}, **job))
    return [Row("loading and augmenting one batch of these, one core", middle(results["ours"]), middle(results["theirs"]),
                target=0.5)]


def dice(bench: Bench) -> list[Row]:
    """Time to a validation Dice; ours trained, nnU-Net's extrapolated from its seconds a step."""
    workspace = bench.workspace("dice")
    dataset = link_dataset(bench.data / HIPPOCAMPUS, workspace.raw, bench.hippocampi)
    home = ("--home", str(workspace.home), "--device", "cpu")

    def train() -> Measured:
        workspace.ours("plan_and_preprocess", "-d", dataset, "-c", "3d_fullres", "--budget", bench.budget, *home)
        usage = workspace.ours("train", dataset, "3d_fullres", "0", "--restart", "--budget", bench.budget, *home)
        folder = workspace.home / "models" / dataset / "budgeted" / "3d_fullres" / "fold_0"
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        return {**plain(usage), "reached": seconds_to(DICE, [json.loads(line) for line in lines]),
                "mean_dice": result["mean_dice"], "iterations": result["schedule"]["iterations"]}

    ours = bench.once("dice", f"ours_{bench.budget}", train)
    a_step = min(row.theirs for row in step(bench))
    needed, source = _iterations_of_reference(bench.reference_log)
    remark = (f"nnU-Net's is EXTRAPOLATED: {needed} iterations ({source}) of {a_step:.2f} s, its validation not counted; "
              "ours by the Dice of validation patches after each epoch")
    whole = (f"likewise; mean Dice at full size {ours['mean_dice']:.3f}, {ours['iterations']} iterations"
             + ("" if ours["mean_dice"] >= DICE else f"; BELOW {DICE}"))
    shared = {"theirs": needed * a_step, "target": 1 / 5, "our_peak": ours["peak_bytes"]}
    reached = math.inf if ours["reached"] is None else ours["reached"]
    return [Row(f"time to validation Dice {DICE}, Dataset004 fold 0", reached, remark=remark, **shared),
            Row(f"the whole training with `--budget {bench.budget}`, all validation included", ours["seconds"],
                remark=whole, **shared)]


def seconds_to(dice_wanted: float, records: list[Measured]) -> float | None:
    """Seconds of training after which the Dice of validation patches was first reached."""
    return next((record["seconds"] for record in records if (record["validation_dice"] or 0) >= dice_wanted), None)


def epochs_to(dice_wanted: float, log: str) -> int | None:
    """The number of epochs after which the mean of the pseudo Dice in a log of nnU-Net is first reached.

    >>> epochs_to(0.85, "Epoch 0 \\n Pseudo dice [np.float32(0.5), nan]\\n Epoch 1\\n Pseudo dice [0.86, 0.85]")
    2
    """
    lines = [line.split("Pseudo dice", 1)[1] for line in log.splitlines() if "Pseudo dice" in line]
    for index, line in enumerate(lines):
        scores = [float(score) for score in re.findall(r"\d\.\d+", line)]
        if scores and sum(scores) / len(scores) >= dice_wanted:
            return index + 1
    return None


def _iterations_of_reference(log: Path | None) -> tuple[int, str]:
    if log is None:
        return ITERATIONS_PER_EPOCH, "one epoch, the least after which it knows its Dice"
    epochs = epochs_to(DICE, log.read_text(encoding="utf-8"))
    if epochs is None:
        raise ValueError(f"{log} never reaches a mean pseudo Dice of {DICE}")
    return epochs * ITERATIONS_PER_EPOCH, f"{epochs} epochs in its log"
