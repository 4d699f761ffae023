"""A raw dataset in another workspace, with more declared than its author did."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoseg.base.errors import UserError
from autoseg.workspace.files import read_json, write_json


def link_dataset(source: Path, folder: Path, declared: Mapping[str, Any]) -> None:
    """Make `folder` the dataset `source` by links to its files, with `declared` added to its dataset.json.

    Raises UserError where the source is no dataset.
    """
    if (folder / "dataset.json").is_file():
        return
    if not (source / "dataset.json").is_file():
        raise UserError("no raw dataset", where=source, expected="a folder with dataset.json")
    folder.mkdir(parents=True, exist_ok=True)
    for path in source.resolve().iterdir():
        if path.name != "dataset.json" and not (folder / path.name).is_symlink():
            (folder / path.name).symlink_to(path)
    write_json(folder / "dataset.json", {**read_json(source / "dataset.json"), **declared})
