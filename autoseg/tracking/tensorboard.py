"""TensorBoard: event files in the folder of the fold. `tensorboard --logdir` of any folder above shows them."""

from collections.abc import Mapping
from pathlib import Path

from autoseg.formats import read_image
from autoseg.tracking.port import TRACKERS, Status, TrackedRun
from planners.registry import NoOptions


@TRACKERS.register("tensorboard", module="tensorboard", extra="tensorboard")
class TensorBoardTracker:
    """A run is a folder of event files. It has no place for a model: a text says where that lies."""

    def __init__(self, options: NoOptions, run: TrackedRun):
        self._run, self._step = run, run.step

    def start(self) -> str:
        from torch.utils.tensorboard import SummaryWriter

        # What came after the last saved iteration of an earlier part, the training has forgotten, too.
        self._writer = SummaryWriter(str(self._run.folder), purge_step=self._run.step + 1 if self._run.run_id else None)
        if self._run.run_id is None:
            rows = "\n".join(f"| {name} | {value} |" for name, value in self._run.parameters.items())
            self._writer.add_text("parameters", f"| name | value |\n|---|---|\n{rows}")
        self._writer.flush()
        return self._run.run_id or self._run.folder.name

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        self._step = step
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def picture(self, path: Path) -> None:
        image_CDHW, _ = read_image(path)
        self._writer.add_image(path.stem, image_CDHW[:3, 0].astype("uint8"), self._step)

    def model(self, path: Path) -> None:
        self._writer.add_text(path.name, str(path), self._step)

    def end(self, status: Status) -> None:
        self._writer.add_text("status", status, self._step)
        self._writer.close()
