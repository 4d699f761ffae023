"""Puts what the extension of a finished fold made in the place of what the fold had."""

import os

from autoseg.workspace.files import remove_file, remove_folder, writing
from autoseg.workspace.folders import FoldFolder

# The weights first; what says that the extension is whole last, so that a process that is killed between two of them is
# followed by another that goes on.
_BEFORE_THE_RESULT = ("checkpoint.safetensors", "state.pt", "state_previous.pt", "schedule.json", "curves.png",
                      "encoder.json", "provenance.json", "finish.json", "probabilities", "validation")
_ABSENT_TOO = ("state_previous.pt", "finish.json")  # of the former training, where the extension has none


def take_extension(folder: FoldFolder) -> None:
    """Replace weights, results and predictions by those of the extension, which is finished. A second call goes on where the
    first was ended. The former curves are kept; what was chosen, drawn or measured with the former weights is removed.
    """
    made = folder.extension
    with writing(folder.path):
        for path in (folder.postprocessing, folder.sheet, folder.ablation(".json"), folder.ablation(".md")):
            remove_file(path)
        remove_folder(folder.explanations)
        if made.metrics.is_file():
            if folder.metrics.is_file():
                os.replace(folder.metrics, folder.metrics_before_extend)
            os.replace(made.metrics, folder.metrics)
        for name in _BEFORE_THE_RESULT:
            new, old = made.path / name, folder.path / name
            if new.is_dir():
                remove_folder(old)
            if new.exists():
                os.replace(new, old)
            elif name in _ABSENT_TOO:
                remove_file(old)
        remove_file(made.extension_time)
        if made.is_finished:
            os.replace(made.result, folder.result)
        remove_folder(made.path)
