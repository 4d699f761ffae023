"""The files of what was trained, by name."""

from dataclasses import dataclass
from pathlib import Path

from autoseg.workspace.files import remove_folder


@dataclass(frozen=True)
class FoldFolder:
    """The files of one trained fold."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.safetensors"

    @property
    def state(self) -> Path:
        return self.path / "state.pt"

    @property
    def schedule(self) -> Path:
        return self.path / "schedule.json"

    @property
    def encoder(self) -> Path:
        """How the conditions of this fold become numbers, fitted when its training began."""
        return self.path / "encoder.json"

    @property
    def begun(self) -> bool:
        """Whether there is anything of a training."""
        return any(path.is_file() for path in (self.schedule, self.state, self.checkpoint, self.result))

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def curves(self) -> Path:
        return self.path / "curves.png"

    @property
    def sheet(self) -> Path:
        """Pictures of some validation cases."""
        return self.path / "contact_sheet.png"

    @property
    def validation(self) -> Path:
        """Folder of the predicted validation cases."""
        return self.path / "validation"

    def probabilities(self, name: str) -> Path:
        """The probabilities of a validation case, written where they were asked for."""
        return self.path / "probabilities" / f"{name}.b2nd"

    def ablation(self, ending: str) -> Path:
        """What each input contributes: .json, .md to read, and .jsonl with a record a prediction."""
        return self.path / f"ablation{ending}"

    @property
    def log(self) -> Path:
        """What the process said that trained this fold beside others."""
        return self.path / "log.txt"

    @property
    def result(self) -> Path:
        """The scores; its presence says that the fold is finished."""
        return self.path / "result.json"

    def clear(self) -> None:
        """Remove what an earlier training left."""
        remove_folder(self.path)
