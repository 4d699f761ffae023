"""Corrections that clients send: from what a service knows of them to a case of the dataset that takes them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autoseg.formats.content import ending_of_content
from autoseg.interop.collect import Cell, Collected, GivenLabel, Source, add_correction, add_image, add_label
from autoseg.interop.collected import CollectedCase, collected_cases, collecting_folder, find_case
from autoseg.serve.problems import refused
from autoseg.serve.served import ServedModel
from autoseg.serve.service import Service
from autoseg.workspace.jobs.receiving import ReceivedFile
from autoseg.workspace.jobs.sessions import with_ending
from autoseg.workspace.names import Workspace

_IMAGES = {".nii", ".nii.gz", ".nrrd", ".mha"}


def folder_of(service: Service) -> Path:
    """The folder of the dataset that takes corrections. Raises 404 where the service was started without one."""
    if not service.settings.collect:
        raise refused(404, "this service takes no images and no corrections to keep",
                      do="start it with --collect and the name of a dataset")
    return collecting_folder(Workspace.open(service.settings.home), service.settings.collect)


def cases_of(service: Service) -> dict[str, CollectedCase]:
    """The cases of the dataset; none where the service takes no corrections."""
    return collected_cases(folder_of(service)) if service.settings.collect else {}


def case_of(service: Service, name: str) -> CollectedCase:
    """A case by its name, or by that which its client gave it. Raises 404 where there is none."""
    case = find_case(folder_of(service), name)
    if case is None:
        raise refused(404, "there is no such image", do="send the image first, or ask /datastore/?output=all for those here")
    return case


def source_of(client: str, model: str, identity: str = "", comment: object = "", alias: str = "") -> Source:
    """Who gives something. Comments are kept to a length that people read."""
    return Source(client, model, identity, str(comment)[:1000] if comment else "", alias)


def keep_image(service: Service, model: str, image: Path, source: Source) -> Collected:
    """Store an image that waits for a label, as the channel of a model that a case cannot do without."""
    channel = only_channel(_model(service, model))
    return add_image(folder_of(service), service.catalogue.plan(model), {channel: image}, source)


def keep_label(service: Service, case: CollectedCase, label: GivenLabel, source: Source) -> Collected:
    """Store a label of images that lie in the dataset."""
    return add_label(folder_of(service), case, label, source)


def keep_correction(service: Service, model: str, images: Mapping[str, Path], label: GivenLabel, row: Mapping[str, Cell],
                    source: Source) -> Collected:
    """Store the images of a job with their corrected label."""
    return add_correction(folder_of(service), service.catalogue.plan(model), images, label, row, source)


def only_channel(model: ServedModel) -> str:
    """The channel that a single image is. Raises 422 where a model needs several."""
    required = [channel.name for channel in model.channels if channel.required] or [model.channels[0].name]
    if len(required) > 1:
        raise refused(422, f"the model {model.name} needs several images", found="one",
                      expected=", ".join(required), do="use the page of the service, or /v1/jobs")
    return required[0]


def named_values(model: ServedModel) -> dict[str, int]:
    """What each value of the model's masks is called. A value of several regions has the name of the smallest one."""
    names: dict[str, int] = {}
    for value in sorted({value for label in model.labels for value in label.values}):
        name = min((label for label in model.labels if value in label.values), key=lambda label: len(label.values)).name
        names[name if name not in names else f"{name} ({value})"] = value
    return names


def given_image(file: ReceivedFile) -> Path:
    """The path of an image that came in. Raises 415 where it is none that can be stored."""
    ending = ending_of_content(file.path)
    if ending not in _IMAGES:
        raise refused(415, "this is not an image that can be read", where=file.shown, expected="NIfTI, NRRD or MHA")
    return with_ending(file, ending)


def given_label(file: ReceivedFile, info: Any, names: Mapping[str, int]) -> GivenLabel:
    """A label as a viewer sends it. `info` is its list of segments, each with name and value (`idx`), or nothing: then the
    values are the model's. Raises 415 where the file is no label, 422 for a segment that the model does not have.
    """
    values = _values(info, names)
    if file.shown.lower().endswith(".bin"):
        return GivenLabel(file.path, raw=True, values=values)
    return GivenLabel(given_image(file), values=values)


def _values(info: Any, names: Mapping[str, int]) -> dict[int, int]:
    """Values of the viewer -> values of the model. Segments that the viewer has and the model has not are left to the check
    of the values: they may be empty.
    """
    if not isinstance(info, list):
        return {}
    pairs = [(entry.get("idx"), names.get(str(entry.get("name")))) for entry in info if isinstance(entry, dict)]
    return {idx: value for idx, value in pairs if isinstance(idx, int) and not isinstance(idx, bool) and value is not None}


def _model(service: Service, name: str) -> ServedModel:
    served: ServedModel | None = service.catalogue.find(name)
    if served is None:
        raise refused(404, "there is no such model", found=name[:80])
    return served
