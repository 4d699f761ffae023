"""Corrected masks become training cases of a raw dataset, which `autoseg_train --from` fine-tunes a model on.

Images are written anew by our own writers: nothing but voxels and grid of what a client sent comes into the dataset. A case
is complete or not there: its label gets its place last, and what a killed process left is removed by the next one.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError, listed, raise_faults
from autoseg.clinical.table import read_table
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.integrity import check_case
from autoseg.datasets.raw import distinct
from autoseg.formats import open_source, read_label, write_array, write_label
from autoseg.formats.arrays import read_raw
from autoseg.formats.files import is_file
from autoseg.grids.geometry import Geometry
from autoseg.interop.collected import (
    FORMER,
    PREFIX,
    UNLABELLED,
    CollectedCase,
    Given,
    alias_of,
    check_fits,
    collected_cases,
    make_dataset,
    open_collected,
    read_given,
    remove_halves,
    write_given,
)
from autoseg.interop.convert import mapped
from autoseg.interop.tables import Rows, as_csv
from autoseg.workspace.files import read_edited_json, remove_file, staged, write_json, write_text
from autoseg.workspace.links import place
from autoseg.workspace.locks import held
from autoseg.workspace.names import DATASET_JSON
from autoseg.workspace.partial import remove_leftovers_below
from autoseg.workspace.provenance import now
from planners.schema.plan import Plan

Cell = str | float | None
Images = dict[int, tuple[np.ndarray, Geometry]]  # by the number of the first channel: (C, z, y, x) and its grid


@dataclass(frozen=True)
class Source:
    """Who gives something, with which model they worked, and how they call the images."""

    who: str
    model: str = ""
    identity: str = ""
    comment: str = ""
    alias: str = ""


@dataclass(frozen=True)
class GivenLabel:
    """A label that somebody gives: a file, `raw` where it holds voxels alone (uint8 or uint16, x fastest). `values` maps its
    values to those of the model, where they have others.
    """

    path: Path
    raw: bool = False
    values: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Collected:
    """A case that was stored, whether it replaced an earlier label, and what should be known, in sentences."""

    dataset: str
    case: str
    replaced: bool
    notes: tuple[str, ...] = ()


def add_image(folder: Path, plan: Plan, images: Mapping[str, Path], source: Source) -> Collected:
    """Store images (channel -> file) that wait for a label. The same images are stored once."""
    with _opened(folder, plan) as dataset:
        read = _read_images(dataset, images)
        name = _name_of(read)
        if name not in collected_cases(folder):
            with ExitStack() as stack:
                files = _staged_images(stack, dataset, folder / UNLABELLED, name, read)
                _check(dataset, CaseFiles(name, files))
        _note("image", folder, name, source)
    return Collected(folder.name, name, False)


def add_correction(folder: Path, plan: Plan, images: Mapping[str, Path], label: GivenLabel, row: Mapping[str, Cell],
                   source: Source) -> Collected:
    """Store images with their corrected label as a training case, and what is known of the patient in the table. A label
    that the same images have already is kept in `formerLabels`.

    Raises UserError or ManyFaults where the images or the label are not what the dataset declares; nothing is stored then.
    """
    with _opened(folder, plan) as dataset:
        read = _read_images(dataset, images)
        name = _name_of(read)
        label_DHW = _read_correction(label, _grid(dataset, read))
        with ExitStack() as stack:
            path = stack.enter_context(staged(_label_path(dataset, name)))
            write_label(path, label_DHW, _grid(dataset, read))
            files = _staged_images(stack, dataset, folder / "imagesTr", name, read)
            _check(dataset, CaseFiles(name, files, path))
            notes = _write_row(dataset, name, row)
            former = _keep_former(dataset, name)
        _finish(dataset, name)
        _note("label", folder, name, source, former)
    return Collected(folder.name, name, bool(former), tuple(notes))


def add_label(folder: Path, case: CollectedCase, label: GivenLabel, source: Source) -> Collected:
    """`add_correction` of images that lie in the dataset already."""
    dataset = open_collected(folder)
    assert dataset is not None  # the case lies in it
    with _held(folder):
        read = {number: open_source(path).read() for number, path in case.images.items()}
        label_DHW = _read_correction(label, _grid(dataset, read))
        with ExitStack() as stack:
            path = stack.enter_context(staged(_label_path(dataset, case.name)))
            write_label(path, label_DHW, _grid(dataset, read))
            files = tuple(case.images.get(number) for number in range(len(dataset.manifest.channels)))
            _check(dataset, CaseFiles(case.name, files, path))
            if case.label is None:
                _staged_images(stack, dataset, folder / "imagesTr", case.name, read)
            _write_row(dataset, case.name, {})
            former = _keep_former(dataset, case.name)
        _finish(dataset, case.name)
        _note("label", folder, case.name, source, former)
    return Collected(folder.name, case.name, bool(former))


def remove_image(folder: Path, case: CollectedCase) -> None:
    """Remove images that wait for a label. Raises UserError for a case that has one."""
    with _held(folder):
        if case.label is not None:
            raise UserError("the case has a label, and is part of the training set", where=case.name,
                            do="remove it in the folder of the dataset, if it must go")
        for path in case.images.values():
            remove_file(path)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    with held(folder):
        remove_leftovers_below(folder)
        remove_halves(folder)
        yield


@contextmanager
def _opened(folder: Path, plan: Plan) -> Iterator[Dataset]:
    """The dataset, held by this process alone, and made if it is not there."""
    with _held(folder):
        dataset = open_collected(folder) or make_dataset(folder, plan)
        check_fits(dataset, plan)
        yield dataset


def _read_images(dataset: Dataset, images: Mapping[str, Path]) -> Images:
    names = [channel.name for channel in dataset.manifest.channels]
    if unknown := [name for name in images if name not in names]:
        raise UserError(f"the dataset has no channel {unknown[0]!r}", where=dataset.file, expected=listed(names, len(names)))
    return {names.index(name): open_source(path).read() for name, path in images.items()}


def _name_of(images: Images) -> str:
    """The name of a case: the same for the same voxels on the same grid, in whichever number type they came."""
    digest = blake2b(digest_size=8)
    for number, (image_CDHW, geometry) in sorted(images.items()):
        digest.update(f"{number} {image_CDHW.shape} {geometry.describe()}".encode())
        digest.update(np.ascontiguousarray(image_CDHW, np.float32).data)
    return PREFIX + digest.hexdigest()


def _grid(dataset: Dataset, images: Images) -> Geometry:
    """That of the reference channel, else of the first one that is there."""
    reference = [number for number, channel in enumerate(dataset.manifest.channels) if channel.reference]
    number = reference[0] if reference and reference[0] in images else min(images)
    return images[number][1]


def _read_correction(label: GivenLabel, geometry: Geometry) -> np.ndarray:
    """The label (z, y, x) with the values of the model. Raises UserError where it lies on another grid."""
    if label.raw:
        label_DHW = read_raw(label.path, geometry.shape)
    else:
        label_DHW, own = read_label(label.path)
        if own.shape != geometry.shape or own.difference(geometry):
            raise UserError("the label lies on another grid than the image", found=own.describe(),
                            expected=geometry.describe(), do="export the label on the grid of the image")
    if not label.values:
        return label_DHW
    if unknown := [value for value in distinct(label_DHW) if value and value not in label.values]:
        raise UserError("the label holds values that have no name", found=listed(unknown), expected=listed(label.values, 20),
                        do="name every segment as the model does")
    return mapped(label_DHW, {str(old): new for old, new in label.values.items()}, label.path)


def _staged_images(stack: ExitStack, dataset: Dataset, folder: Path, name: str, images: Images) -> tuple[Path | None, ...]:
    """Write the images, one file per channel; they get their place when `stack` is left."""
    ending = dataset.manifest.file_ending
    first = stack.enter_context(staged(folder / f"{name}_{min(images):04d}{ending}"))
    files: list[Path | None] = [None] * len(dataset.manifest.channels)
    for start, (image_CDHW, geometry) in images.items():
        for number, image_DHW in enumerate(image_CDHW, start):
            if number >= len(files) or files[number] is not None:
                raise UserError("the image has more channels than the dataset has from this one on", found=len(image_CDHW),
                                expected="one")
            path = first.with_name(f"{name}_{number:04d}{ending}")
            write_array(path, image_DHW[None], geometry)
            files[number] = path
    return tuple(files)


def _check(dataset: Dataset, files: CaseFiles) -> None:
    """What `autoseg_verify` would say of a case, before it gets its place. Temporary folders are not named."""
    faults = check_case(files, dataset.manifest).faults
    parents = {str(path.parent) + os.sep for path in (*files.images, files.label) if path is not None}
    for parent in parents:
        faults = [fault.replace(parent, "") for fault in faults]
    raise_faults(f"case {files.name}", faults)


def _label_path(dataset: Dataset, name: str) -> Path:
    return dataset.folder / "labelsTr" / f"{name}{dataset.manifest.file_ending}"


def _keep_former(dataset: Dataset, name: str) -> str:
    """Keep a copy of the label that is to be replaced, under the time at which it was given; its name in the dataset."""
    label = _label_path(dataset, name)
    if not is_file(label):
        return ""
    times = [given.time for given in read_given(dataset.folder) if given.case == name and given.kind == "label"]
    when = "".join(character for character in (times[-1] if times else "") if character.isalnum()) or "before"
    former = dataset.folder / FORMER / f"{name}_{when}{dataset.manifest.file_ending}"
    place(label, former, copy=True)
    return f"{FORMER}/{former.name}"


def _write_row(dataset: Dataset, name: str, row: Mapping[str, Cell]) -> list[str]:
    """Write what is known of a case into the table; a sentence where the table is not one that can be added to."""
    known = {column: "" if value is None else str(value) for column, value in row.items()}
    table = dataset.manifest.conditions
    if not table.table or (not any(known.values()) and is_file(dataset.folder / table.table)):
        return []
    path = dataset.folder / table.table
    if path.suffix.lower() != ".csv" or table.match != "exact":
        return [f"nothing is added to {table.table}: its rows are not one per case in CSV"]
    rows: Rows = {}
    if is_file(path):
        read = read_table(path)
        if read.decimal_comma:  # it would be written with commas between the cells: numbers would be read otherwise
            return [f"nothing is added to {table.table}: its cells are separated by semicolons; save it with commas between "
                    "the cells and points in the numbers"]
        place_of = read.position(table.id)
        if place_of is None:
            return [f"nothing is added to {table.table}: it lacks the column {table.id!r}"]
        rows = {r.cells[place_of]: dict(zip(read.columns, r.cells, strict=True)) for r in read.rows}
    columns = {spec.name: "" for spec in table.specs if spec.kind in ("number", "category", "ordinal")}
    columns |= {column: "" for column in dataset.manifest.modality_columns.values()}
    rows[name] = columns | rows.get(name, {}) | {column: cell for column, cell in known.items() if column in columns}
    write_text(path, as_csv(rows, table.id))
    return []


def _finish(dataset: Dataset, name: str) -> None:
    """A case that has its label waits no longer; a `dataset.json` that counts its cases counts them again."""
    for number in range(len(dataset.manifest.channels)):
        remove_file(dataset.folder / UNLABELLED / f"{name}_{number:04d}{dataset.manifest.file_ending}")
    if dataset.manifest.n_training is not None:
        count = sum(case.label is not None for case in collected_cases(dataset.folder).values())
        write_json(dataset.file, read_edited_json(dataset.folder / DATASET_JSON) | {"numTraining": count})


def _note(kind: str, folder: Path, name: str, source: Source, former: str = "") -> None:
    write_given(folder, Given(kind="label" if kind == "label" else "image", case=name, who=source.who,
                              time=now().isoformat(timespec="microseconds"), model=source.model, identity=source.identity,
                              comment=source.comment, alias=alias_of(source.alias), former=former))
