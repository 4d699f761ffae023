"""One tiny workspace for all commands: five spheres, prepared, and fold 0 of a tiny network trained by the command."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import pytest

from autoseg.cli import train
from orchestrate_folds import DATASET, prepared_spheres


@dataclass(frozen=True)
class Trained:
    """A workspace with a trained fold, and what the training printed."""

    home: Path
    printed: str

    @property
    def raw(self) -> Path:
        return self.home / "raw" / DATASET

    @property
    def validation(self) -> Path:
        """The masks of the fold's validation case."""
        return self.home / "models" / DATASET / "budgeted" / "3d_fullres" / "fold_0" / "validation"


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> Trained:
    home = tmp_path_factory.mktemp("cli")
    prepared_spheres(home)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert train.main(["1", "3d_fullres", "0", "--home", str(home), "--device", "cpu"]) == 0
    return Trained(home, printed.getvalue())


@pytest.fixture(scope="session")
def masks(trained, tmp_path_factory) -> tuple[Path, Path]:
    """A folder with the true label of the validation case, and one with its predicted mask."""
    (predicted,) = trained.validation.glob("*.nii.gz")
    folders = tmp_path_factory.mktemp("labels"), tmp_path_factory.mktemp("masks")
    for folder, source in zip(folders, (trained.raw / "labelsTr" / predicted.name, predicted), strict=True):
        (folder / predicted.name).write_bytes(source.read_bytes())
    return folders
