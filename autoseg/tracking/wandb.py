"""Weights & Biases: offline, in the folder of the fold, unless WANDB_MODE says otherwise. `wandb sync` sends it later."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoseg.tracking.port import TRACKERS, Status, TrackedRun
from planners.registry import NoOptions


@TRACKERS.register("wandb", module="wandb", extra="wandb")
class WandbTracker:
    """A run of the project that bears the name of the dataset."""

    def __init__(self, options: NoOptions, run: TrackedRun):
        self._run = run
        self._open: Any = None

    def start(self) -> str:
        import wandb

        # A link in the folder of a fold would look as if the fold lay elsewhere.
        settings = wandb.Settings(symlink=False, console="off")
        self._open = wandb.init(project=self._run.dataset, name=self._run.name, config=dict(self._run.parameters),
                                dir=str(self._run.folder), id=self._run.run_id, resume="allow", settings=settings,
                                mode=os.environ.get("WANDB_MODE", "offline"))
        return str(self._open.id)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self._open.log(dict(values), step=step)

    def picture(self, path: Path) -> None:
        import wandb

        self._open.log({path.stem: wandb.Image(str(path))})

    def model(self, path: Path) -> None:
        import wandb

        artifact = wandb.Artifact(f"{self._run.name}_{path.stem}".replace(" ", "_"), type="model")
        artifact.add_file(str(path))
        self._open.log_artifact(artifact)

    def end(self, status: Status) -> None:
        self._open.finish(exit_code=0 if status == "finished" else 1)
