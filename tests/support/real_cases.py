"""Some cases of the datasets of AUTOSEG_TEST_DATA."""

import json
import shutil
from pathlib import Path

from autoseg.workspace.files import write_json


def some_cases(source: Path, target: Path, n: int, ending: str) -> None:
    """The first cases of a dataset."""
    declared = json.loads((source / "dataset.json").read_text())
    for label in sorted((source / "labelsTr").iterdir())[:n]:
        (target / "labelsTr").mkdir(parents=True, exist_ok=True)
        (target / "imagesTr").mkdir(parents=True, exist_ok=True)
        shutil.copy(label, target / "labelsTr")
        for image in (source / "imagesTr").glob(label.name.removesuffix(ending) + "_*"):
            shutil.copy(image, target / "imagesTr")
    write_json(target / "dataset.json", {**declared, "numTraining": n})
