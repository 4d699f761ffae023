"""A folder of tiles -> one bag of tokens per case, bounded, without blank tiles, and a record of how it was made."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from autoseg.base.errors import UserError, as_fault, listed, raise_faults
from autoseg.base.parts import check_part
from autoseg.datasets.preprocessors import check_preprocessor, preprocess
from autoseg.datasets.stain import StainOptions, is_blank
from autoseg.formats import read_image
from autoseg.formats.arrays import ENDING, write_features
from autoseg.formats.files import is_file, is_folder, list_entries, list_files, no_file
from autoseg.formats.registry import known_ending
from autoseg.preprocessing.foreground import case_generator
from autoseg.preprocessing.tokens.registry import TILE_ENCODERS, Tile, TileEncoder, TileEncoderContext
from autoseg.workspace.files import read_model, remove_file, write_json
from autoseg.workspace.provenance import note_result, now, provenance, seconds_since
from planners.schema.base import Frozen, Part, versioned
from planners.schema.channels import ChannelSpec

logger = logging.getLogger(__name__)

RECORD = "bags.json"  # beside the bags
_TILES_AT_A_TIME = 16
_COLOURS = tuple(ChannelSpec(name="rgb") for _ in range(3))


class BagSettings(Frozen):
    """How bags are made. A tile of which less than the share `tissue` is tissue is blank; at most `most` others of a case
    are encoded, sampled by `seed` and the name of the case.
    """

    encoder: Part = Part(name="small")
    preprocess: Part = Part(name="none")
    tissue: float = Field(default=0.05, ge=0, le=1)
    most: int = Field(default=256, gt=0)
    seed: int = 0


class BagFacts(Frozen):
    """What is known of a case's bag: tiles in its folder, tokens, and blank tiles among those that were looked at."""

    tiles: int
    tokens: int
    blank: int


class BagsRecord(Frozen):
    """`bags.json`: how the bags of a folder were made. All bags of one name are made alike, or could not be compared."""

    schema_version: int = versioned(1)
    settings: BagSettings
    features: int = 0  # of a token
    cases: dict[str, BagFacts] = Field(default_factory=dict)


@dataclass(frozen=True)
class TileFolder:
    """The pictures of one case, of all its slides, in the order of their names; what else lies there is in `others`."""

    case: str
    tiles: tuple[Path, ...]
    others: tuple[Path, ...] = ()


def tile_folders(folder: Path) -> tuple[TileFolder, ...]:
    """The tiles of every case: `CASE/TILE.png`, or `CASE/SLIDE/TILE.png`. Raises UserError where there are none, and where
    tiles lie in no folder of a case.
    """
    if not is_folder(folder):
        raise UserError("the folder of tiles is missing", where=folder)
    entries = list_entries(folder)
    loose = [path for path in entries.files if known_ending(path.name)]
    if loose:
        raise UserError("tiles lie in no folder of a case", where=folder, found=listed(path.name for path in loose),
                        expected="CASE/TILE.png", do="make a folder with the name of each case and move its tiles there")
    found = tuple(_tile_folder(path) for path in entries.folders)
    if not any(tiles.tiles for tiles in found):
        raise UserError("there are no tiles", where=folder, expected="CASE/TILE.png, .tif, .jpg or .bmp")
    return found


def _tile_folder(folder: Path) -> TileFolder:
    entries = list_entries(folder)
    inner = [list_entries(slide) for slide in entries.folders]
    for entry in (entries, *inner):
        if entry.broken:
            raise no_file(entry.broken[0])
    files = [*entries.files, *(path for slide in inner for path in slide.files)]
    deep = [path for slide in inner for path in slide.folders]
    pictures = tuple(path for path in files if known_ending(path.name))
    others = tuple(path for path in files if not known_ending(path.name) and path.suffix != ".json")
    return TileFolder(folder.name, pictures, (*others, *deep))


def write_bags(folders: Sequence[TileFolder], target: Path, settings: BagSettings, device: str, *,
               progress: Callable[[], object] = lambda: None) -> BagsRecord:
    """Encode the tiles of each case to `target/CASE.npy`, (tokens, features) float32, and write the record.

    A case all of whose tiles are blank has no bag. Raises UserError where parts of the settings are not known, where other
    bags of `target` were made otherwise, and, after all other cases were done, with the faults of single tiles.
    """
    check_part(TILE_ENCODERS, settings.encoder, "tiles")
    check_preprocessor(settings.preprocess, _COLOURS, "tiles")
    known = _record(target, settings)
    started, encoder = now(), TILE_ENCODERS.make(settings.encoder, TileEncoderContext(device))
    write_json(target / RECORD, known)  # first: a command that is killed leaves no bag of unknown making
    cases, faults, width = dict(known.cases), [], known.features
    for folder in folders:
        try:
            tokens_TE, facts = encode_bag(folder, encoder, settings)
            width = _write_bag(target / f"{folder.case}{ENDING}", tokens_TE, width)
            cases[folder.case] = facts
        except Exception as error:
            faults.append(str(as_fault(error, f"case {folder.case}")))
        progress()
    note_result(target / RECORD, provenance(started, seconds_since(started), seed=settings.seed, device=device))
    record = BagsRecord(settings=settings, features=width, cases=dict(sorted(cases.items())))
    write_json(target / RECORD, record)
    raise_faults(target, faults)
    return record


def encode_bag(folder: TileFolder, encoder: TileEncoder, settings: BagSettings) -> tuple[np.ndarray, BagFacts]:
    """The tokens of a case, (T, E), in the order of the names of its tiles; (0, 0) where all are blank."""
    for path in folder.others[:1]:
        logger.warning("%s: %d of its files and folders are no tiles, such as %s", folder.case, len(folder.others),
                       path.name)
    order = case_generator(f"{settings.seed} {folder.case}").permutation(len(folder.tiles))
    gate = StainOptions(tissue=settings.tissue)
    chosen: dict[int, Tile] = {}
    tokens: dict[int, np.ndarray] = {}
    blank = 0
    for number in order:
        tile = read_tile(folder.tiles[number])
        if is_blank(tile.image_CDHW.reshape(3, -1), gate):
            blank += 1
            continue
        chosen[int(number)] = _preprocessed(tile, settings.preprocess)
        if len(chosen) == _TILES_AT_A_TIME:
            tokens |= _encoded(chosen, encoder)
            chosen = {}
        if len(tokens) + len(chosen) == settings.most:
            break
    tokens |= _encoded(chosen, encoder)
    bag = np.stack([tokens[number] for number in sorted(tokens)]) if tokens else np.zeros((0, 0), np.float32)
    if not tokens:
        logger.warning("%s has no bag: all of its %d tiles are blank", folder.case, len(folder.tiles))
    return bag, BagFacts(tiles=len(folder.tiles), tokens=len(tokens), blank=blank)


def read_tile(path: Path) -> Tile:
    """A picture in colour; what is transparent, as beyond the edge of a slide, is white. Raises UserError for any other."""
    image_CDHW, geometry = read_image(path)
    if len(image_CDHW) not in (3, 4) or image_CDHW.shape[1] != 1:
        raise UserError("the tile is not a picture in colour", where=path,
                        found=f"{len(image_CDHW)} channels of {image_CDHW.shape[1]} slices",
                        expected="red, green and blue of one slice", do="save it as RGB, or remove it")
    low, high = float(image_CDHW.min()), float(image_CDHW.max())
    if not (low >= 0 and high <= 255):
        raise UserError("the tile does not have 8 bits of each colour", where=path, found=f"values {low:g} to {high:g}",
                        expected="0 to 255", do="save it with 8 bits of each colour")
    if len(image_CDHW) == 4:
        opaque_DHW = image_CDHW[3] / np.float32(255)
        image_CDHW = image_CDHW[:3] * opaque_DHW + 255 * (1 - opaque_DHW)
    return Tile(str(path), image_CDHW, geometry)


def _preprocessed(tile: Tile, part: Part) -> Tile:
    image_CDHW, kept = preprocess(part, _COLOURS, tile.image_CDHW, np.ones(3, dtype=bool), None)
    if kept:
        logger.warning("%s: %s", tile.name, kept)
    return Tile(tile.name, image_CDHW, tile.geometry)


def _encoded(tiles: Mapping[int, Tile], encoder: TileEncoder) -> dict[int, np.ndarray]:
    """The features of each tile by its number; a UserError where an encoder does not give numbers."""
    if not tiles:
        return {}
    features = np.asarray(encoder(list(tiles.values())), dtype=np.float32)
    if features.ndim != 2 or len(features) != len(tiles) or not np.isfinite(features).all():
        raise UserError("the encoder did not give finite features for every tile", found=f"an array {features.shape}",
                        expected=f"({len(tiles)}, features)")
    return dict(zip(tiles, features, strict=True))


def _write_bag(path: Path, tokens_TE: np.ndarray, width: int) -> int:
    """Write a bag, or remove the one of an earlier run where nothing is to be written; the number of features."""
    if not len(tokens_TE):
        remove_file(path)
        return width
    if width not in (0, tokens_TE.shape[1]):
        raise UserError("the encoder gives another number of features than before", where=path, found=tokens_TE.shape[1],
                        expected=width, do="choose another --name, or remove the folder")
    write_features(path, tokens_TE)
    return int(tokens_TE.shape[1])


def _record(target: Path, settings: BagSettings) -> BagsRecord:
    """The record of a folder of bags, empty where there is none."""
    if not is_file(target / RECORD):
        own = [path.name for path in list_files(target) if path.suffix == ENDING] if is_folder(target) else []
        if own:
            raise UserError("there are bags already, and nothing says how they were made", where=target, found=listed(own),
                            do="choose another --name, or remove them")
        return BagsRecord(settings=settings)
    known = read_model(target / RECORD, BagsRecord)
    differing = [name for name in BagSettings.model_fields if getattr(known.settings, name) != getattr(settings, name)]
    if differing:
        raise UserError("the bags that lie there were made otherwise", where=target,
                        found="; ".join(f"{name} {getattr(known.settings, name)!r}" for name in differing),
                        expected="; ".join(f"{name} {getattr(settings, name)!r}" for name in differing),
                        do="choose another --name, or remove the folder")
    return known
