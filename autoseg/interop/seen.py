"""Which cases of another dataset a model was trained on, by the content of their images."""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

from autoseg.base.errors import AutosegError
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.digests import raw_files
from autoseg.formats import read_header, read_image
from autoseg.formats.files import combined_digest
from autoseg.prediction.models import FoldModel


def seen_cases(models: Sequence[FoldModel], own: Dataset | None, others: Sequence[CaseFiles], slots: Sequence[int | None]
               ) -> dict[str, str]:
    """The cases of `others` that one of the models was trained on, each with the reason. `slots` are the numbers of their
    channels in the order of the model's.

    Digests of the images, which the weights hold, tell the same files in whatever dataset. Where the model's raw dataset
    (`own`) is there, voxels are compared too, of images of the same size: another compression or another number of a channel
    hides nothing. Images that were resampled or turned are not recognised.
    """
    known = {digest for model in models for digest in _digests(model)}
    seen = {files.name: "the weights name its images" for files in others
            if known & {_image_digest(files.images), digest_of_taken(files, slots)}}
    if own is not None:
        seen |= _same_voxels(_trained(models, own), [files for files in others if files.name not in seen])
    return seen


def digest_of_taken(files: CaseFiles, slots: Sequence[int | None]) -> str:
    """A digest of the images of a case that a model takes, in the order of its channels."""
    return _image_digest(tuple(None if slot is None else files.images[slot] for slot in slots))


def _image_digest(images: tuple[Path | None, ...]) -> str:
    """As `training.inputs` writes it."""
    return combined_digest(f"{file.channel} {file.digest}" for file in raw_files(CaseFiles("images", images)))


def _digests(model: FoldModel) -> set[str]:
    if model.trained_with is None:
        return set()
    cases, before = model.trained_with.cases, model.trained_with.initial_weights
    own = {cases[name]["image"] for name in model.trained_with.training if "image" in cases.get(name, {})}
    return own | set(() if before is None else before.images)


def _trained(models: Sequence[FoldModel], own: Dataset) -> list[CaseFiles]:
    """The cases of the model's dataset that it was trained on; all of them where weights do not say."""
    said = [model.trained_with for model in models]
    if any(trained is None for trained in said):
        return list(own.cases)
    names = {name for trained in said if trained is not None for name in trained.training}
    return [files for files in own.cases if files.name in names]


def _same_voxels(trained: Sequence[CaseFiles], others: Sequence[CaseFiles]) -> dict[str, str]:
    by_shape: dict[tuple[int, ...], list[tuple[str, Path]]] = {}
    for name, path in _images(trained):
        by_shape.setdefault(_shape(path), []).append((name, path))
    digests: dict[Path, str] = {}
    seen: dict[str, str] = {}
    for name, path in _images(others):
        same = by_shape.get(_shape(path), [])
        mine: Mapping[str, str] = {_voxels(candidate, digests): case for case, candidate in same}
        if same and name not in seen and (case := mine.get(_voxels(path, digests))):
            seen[name] = f"its image has the voxels of the training case {case}"
    return seen


def _images(cases: Sequence[CaseFiles]) -> list[tuple[str, Path]]:
    return [(files.name, path) for files in cases for path in files.images if path is not None]


def _shape(path: Path) -> tuple[int, ...]:
    try:
        header = read_header(path)
    except AutosegError:  # said when the case is read
        return ()
    return (header.n_channels, *header.geometry.shape)


def _voxels(path: Path, digests: dict[Path, str]) -> str:
    """A digest of the voxels as numbers; one that no other image has where the file cannot be read."""
    if path not in digests:
        try:
            image_CDHW, _ = read_image(path)
            is_plain = image_CDHW.size == 0 or image_CDHW.min() == image_CDHW.max()  # one that is empty is nobody's
            digests[path] = str(path) if is_plain else blake2b(image_CDHW.data, digest_size=16).hexdigest()
        except AutosegError:
            digests[path] = str(path)
    return digests[path]
