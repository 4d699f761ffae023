"""A self-configuring medical image segmentation pipeline.

>>> import autoseg
>>> autoseg.fingerprint(4); autoseg.plan(4, budget_seconds=1800); autoseg.preprocess(4)
>>> autoseg.train(4, "3d_fullres", 0)
>>> autoseg.Predictor.open(dataset=4).predict_file("case_0000.nii.gz").label_DHW
"""

import importlib
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

# Looked up when first used, so that `import autoseg` and every `--help` answer at once.
_PUBLIC = {"verify": "pipeline", "fingerprint": "pipeline", "plan": "pipeline", "preprocess": "pipeline",
           "train": "pipeline", "evaluate": "pipeline", "compare": "pipeline", "ablate": "pipeline",
           "find_best": "pipeline", "report": "pipeline", "overlay": "pipeline", "Predictor": "predict.predictor",
           "Ensemble": "predict.ensemble", "predict_folder": "predict.folder", "UserError": "base.errors",
           "load_plugin": "base.workers"}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'autoseg' has no attribute {name!r}")
    return getattr(importlib.import_module(f"autoseg.{_PUBLIC[name]}"), name)


class _Stage(ModuleType):
    """A room whose name is also a verb of the API: `autoseg.train(...)` calls `autoseg.pipeline.train`."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        verb = self.__name__.rpartition(".")[2]
        return getattr(importlib.import_module("autoseg.pipeline"), verb)(*arguments, **options)


# As soon as anything imports such a room, its name in this package is the room, and __getattr__ is not asked.
for _verb in ("preprocess", "train", "evaluate", "report"):
    importlib.import_module(f"autoseg.{_verb}").__class__ = _Stage


def __dir__() -> list[str]:
    return sorted(__all__)
