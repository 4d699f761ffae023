"""How each of our JSON files is made again, in the words of an error."""

from pathlib import Path

_TRAIN = "run autoseg_train of this fold again"
_PREDICT = "predict again into this folder"
_COMMANDS = {
    "fingerprint.json": "run autoseg_plan_and_preprocess again, which measures the dataset anew",
    "splits.json": "put back a copy",
    "plan.json": "put back a copy, or train again with --restart",
    "inference.json": "choose again with autoseg_find_best_configuration",
    "selection.json": "choose again with autoseg_find_best_configuration",
    "started_with.json": "put back a copy, or train this fold again with --restart",
    "schedule.json": "put back a copy, or train this fold again with --restart",
    "encoder.json": "put back a copy, or train this fold again with --restart",
    "postprocessing.json": f"remove it, and {_TRAIN}, which then only chooses it",
    "result.json": f"{_TRAIN}, which then only validates",
    "ablation.json": "run autoseg_ablate again",
    "explanations.json": "run autoseg_explain again",
    "summary.json": "score again with autoseg_evaluate",
    "labels.json": _PREDICT,
    "quality.json": _PREDICT,
    "race_seconds.json": "put back a copy, or remove it, and the time is counted from now",
    "race.json": "put back a copy, or remove it and race again",
}


def how_again(path: Path) -> str:
    """What to do to make a file of this name again; empty where no command makes it."""
    if path.name.startswith("plan_"):
        return "put back a copy, or plan again with autoseg_plan_and_preprocess"
    if path.name.startswith("external_"):
        return "run autoseg_external again"
    return _COMMANDS.get(path.name, "")
