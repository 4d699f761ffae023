"""A self-configuring medical image segmentation pipeline.

>>> import autoseg
>>> autoseg.fingerprint(4); autoseg.plan(4, budget_seconds=1800); autoseg.preprocess(4)
>>> autoseg.train(4, "3d_fullres", 0)
>>> autoseg.predict("images", "masks", dataset=4)
>>> autoseg.Predictor.open(dataset=4).predict_file("case_0000.nii.gz").label_DHW
"""

import importlib
from typing import Any

from autoseg.base.version import __version__

# Looked up when first used, so that `import autoseg` and every `--help` answer at once.
_PUBLIC = {"verify": "pipeline", "fingerprint": "pipeline", "plan": "pipeline", "preprocess": "pipeline",
           "train": "pipeline", "predict": "pipeline", "evaluate": "pipeline", "compare": "pipeline", "ablate": "pipeline",
           "find_best": "pipeline", "report": "pipeline",
           "pretrain": "orchestrate.pretrain", "fit_outcome": "outcome.run", "overlay": "pipeline",
           "Predictor": "prediction.predictor", "Volume": "formats.volume", "Segmentation": "prediction.segmentation",
           "Cancelled": "prediction.watch",
           "predict_folder": "prediction.folder", "UserError": "base.errors", "load_plugin": "base.processes"}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'autoseg' has no attribute {name!r}")
    return getattr(importlib.import_module(f"autoseg.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
