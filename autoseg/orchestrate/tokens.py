"""Tiles of a dataset's patients -> token bags, where training and prediction look for them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import UserError, hint, listed, raise_faults
from autoseg.base.progress import progress_bar
from autoseg.base.runtime import open_runtime
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.raw import scan_cases
from autoseg.formats.files import digest
from autoseg.preprocessing.tokens import TILE_ENCODERS
from autoseg.preprocessing.tokens.bags import BagFacts, BagSettings, TileFolder, tile_folders, write_bags
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.names import Workspace
from autoseg.workspace.paths import below
from planners.schema.base import Part

logger = logging.getLogger(__name__)

_FOLDER = "tokens"


@dataclass(frozen=True)
class WrittenBags:
    """A folder of bags, the features of a token, and what is known of each case that was encoded now."""

    folder: Path
    features: int
    cases: dict[str, BagFacts]


def encode_tiles(tiles: str | Path, *, dataset: str | int | None = None, output: str | Path | None = None,
                 name: str = "histology", settings: BagSettings | None = None, home: str | Path | None = None,
                 device: str = "auto") -> tuple[WrittenBags, ...]:
    """Encode the `tiles/CASE/*` of a dataset's training and test cases, or of all cases into the folder `output`.

    Bags are `tokens/NAME/CASE.npy` in the raw dataset, in its `imagesTs` for test cases, or in `output`. Raises UserError
    where there are no tiles or none belong to a case, and the faults of tiles after all others were encoded.
    """
    if (dataset is None) == (output is None):
        raise UserError("either a dataset or a folder to write to is needed, and not both", do="name one of them")
    folders = [folder for folder in tile_folders(Path(tiles)) if folder.tiles]
    places = {Path(output): folders} if output is not None else _places(home, str(dataset), folders, Path(tiles))
    chosen, runtime = settings or BagSettings(), open_runtime(device)
    written, faults = [], []
    with progress_bar("encoding tiles", sum(map(len, places.values()))) as bar:
        for place, group in places.items():
            target = below(place / _FOLDER, name)
            try:
                record = write_bags(group, target, chosen, str(runtime.device), progress=bar.update)
            except UserError as error:
                faults.append(str(error))
                continue
            cases = {folder.case: record.cases[folder.case] for folder in group}
            written.append(WrittenBags(target, record.features, cases))
    raise_faults(tiles, faults)
    return tuple(written)


def encoder_named(text: str) -> Part:
    """The tile encoder of a name, or the one of the folder of a pre-training. A UserError that lists the known names."""
    if text in TILE_ENCODERS.names():
        return Part(name=text)
    if Path(text).is_dir():
        folder = FoldFolder(Path(text).absolute())
        if not folder.is_trained:
            raise UserError("the folder holds no trained network", where=folder.path, expected=folder.checkpoint.name,
                            do="name one that autoseg_pretrain has written: models/DATASET/PLANNER/2d/pretrained_METHOD")
        return Part(name="pretrained", options={"model": str(folder.path), "weights": digest(folder.checkpoint)})
    known = [name for name in TILE_ENCODERS.names() if name != "pretrained"]
    raise UserError(f"unknown tile encoder {text!r}{hint(text, known)}",
                    expected=f"{', '.join(known)}, or the folder of a pre-training",
                    do="correct the name, or name the module that registers it with --plugin")


def _places(home: str | Path | None, dataset: str, folders: Sequence[TileFolder], tiles: Path
            ) -> dict[Path, list[TileFolder]]:
    """The folders of tiles by where their bags belong: the raw dataset, or its test images."""
    workspace = Workspace.open(home)
    raw = Dataset.open(workspace.raw(workspace.dataset(dataset)))
    training, tests = set(raw.names), raw.folder / "imagesTs"
    testing = {case.name for case in scan_cases(tests, raw.manifest.channels, raw.manifest.file_ending).cases
               } if tests.is_dir() else set()
    unknown = [folder.case for folder in folders if folder.case not in training | testing]
    if len(unknown) == len(folders):
        raise UserError("no folder of tiles bears the name of a case", where=tiles, found=listed(unknown),
                        expected=listed(sorted(training)), do="name each folder after its case")
    if unknown:
        logger.warning("%s: %d folders belong to no case and are not encoded: %s%s", tiles, len(unknown), listed(unknown),
                       hint(unknown[0], training | testing))
    lacking = sorted(training - {folder.case for folder in folders})
    if lacking:
        logger.warning("%d of %d training cases have no tiles: %s", len(lacking), len(training), listed(lacking))
    places = {raw.folder: [folder for folder in folders if folder.case in training],
              tests: [folder for folder in folders if folder.case in testing and folder.case not in training]}
    return {place: group for place, group in places.items() if group}
