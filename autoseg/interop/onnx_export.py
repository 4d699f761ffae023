"""A trained model as ONNX: a graph for each fold, `model.json`, and `predict_onnx.py`, which needs numpy and onnxruntime.

A graph takes patches (batch, channel, *patch), prepared as `model.json` says, and gives logits (batch, head, *patch).
Where channels may be missing it takes `present` (batch, channel; bool), too. What a graph or the script cannot do is refused
by name: a model that silently predicts something else is worse than none.
"""

import contextlib
import importlib
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from autoseg.base.command import called
from autoseg.base.errors import UserError
from autoseg.datasets.spikes import Bulk
from autoseg.interop.share import choice
from autoseg.nn.conditioning import CONDITIONERS
from autoseg.nn.model import Model
from autoseg.prediction.decision import label_values
from autoseg.prediction.inference_settings import Postprocessing
from autoseg.prediction.member import ConfigurationModel
from autoseg.preprocessing.normalize import DEVIATIONS_IN_99_PERCENT
from autoseg.workspace.files import check_writable, write_json, write_unflushed
from autoseg.workspace.links import place
from autoseg.workspace.names import Workspace
from planners.schema.base import Frozen, versioned
from planners.schema.fingerprint import IntensityStats
from planners.schema.plan import Configuration, Plan

logger = logging.getLogger(__name__)

SCRIPT, DESCRIPTION = "predict_onnx.py", "model.json"
_SCRIPT_SOURCE = Path(__file__).with_name("predict_onnx.py.in")  # it prints and reads files, as no module of autoseg does
_OPSET = 18
_NORMALIZERS = ("ct", "zscore", "rescale01", "rgb", "none")  # that the script computes


class OnnxModel(Frozen):
    """`model.json`: all that the script knows. Axes are z, y, x of the array unless `transpose` was applied first.

    `normalizers` has for each channel a kind and its numbers. `head_swap` says which head is which in a mirror along
    `pair_axis` of the patch; empty: all are their own.
    """

    schema_version: int = versioned(1)
    dataset: str
    graphs: tuple[str, ...]
    channels: tuple[str, ...]
    optional: tuple[bool, ...]
    orientation: str
    transpose: tuple[int, int, int]
    spacing_mm: tuple[float | None, float | None, float | None]  # of the transposed array; None: any
    patch: tuple[int, ...]
    normalizers: tuple[dict[str, float | str], ...]
    mirror_axes: tuple[int, ...]
    head_swap: tuple[int, ...]
    pair_axis: int | None
    regions: bool
    values: tuple[int, ...]  # written where a head wins; of regions the first is that of none
    labels: dict[str, tuple[int, ...]]


@called
def export_onnx(workspace: Workspace, dataset: str | int, folder: str | Path, *, configuration: str | None = None,
                planner: str | None = None, folds: Sequence[int | str] | None = None) -> tuple[Path, ...]:
    """Write the graphs of a trained model, their description and the script into a folder; the graphs.

    The model is chosen as by `autoseg_predict`. Raises UserError for what cannot be written: several configurations, a
    cascade, conditions, parts that torch cannot turn into ONNX, normalisers and preprocessors that the script does not know.
    """
    _import_onnx()
    target, name = Path(folder), workspace.dataset(dataset)
    settings = choice(workspace, name, configuration, planner, folds)
    if len(settings.members) > 1:
        raise UserError("a graph is of one configuration, and several were chosen together", where=name,
                        found=" + ".join(member.title for member in settings.members), do="choose one with -c")
    (member,) = settings.members
    model = ConfigurationModel.open(workspace.model(name, member.planner, member.configuration), folds=member.folds,
                                    device="cpu")
    where = f"{name} {member.title}"
    refuse_unsupported(model.plan, model.configuration, where)
    if settings.postprocessing != Postprocessing():
        logger.warning("%s: the postprocessing that was chosen is no part of the graphs", where)
    check_writable(target)
    graphs = tuple(target / f"fold_{fold}.onnx" for fold in member.folds)
    for path, fold_model in zip(graphs, model.models, strict=True):
        write_unflushed(path, onnx_bytes(fold_model.model, model.plan, model.configuration, where))
    write_json(target / DESCRIPTION, description(model.plan, model.configuration, [path.name for path in graphs]))
    place(_SCRIPT_SOURCE, target / SCRIPT, copy=True)
    return graphs


def _import_onnx() -> None:
    try:
        for name in ("onnx", "onnxscript"):
            importlib.import_module(name)
    except ImportError as error:
        raise UserError("ONNX needs packages that are not installed", found=error.name,
                        do="pip install 'autoseg-pipeline[onnx]'") from error


def refuse_unsupported(plan: Plan, configuration: Configuration, where: str) -> None:
    """A UserError that names the first part that a graph or the script cannot do."""
    if configuration.previous:
        raise _unsupported(where, f"the earlier stage {configuration.previous!r} of a cascade")
    if CONDITIONERS.traits(configuration.conditioning.name).reads_conditions:
        raise _unsupported(where, f"the conditioner {configuration.conditioning.name!r}, which reads what is known of a "
                                  "patient beside the images")
    if configuration.preprocess.name != "none":
        raise _unsupported(where, f"the preprocessor {configuration.preprocess.name!r}")
    for channel, part in zip(plan.channels, configuration.normalizers, strict=True):
        if part.name not in _NORMALIZERS:
            raise _unsupported(where, f"the normaliser {part.name!r} of channel {channel.name!r}")


def _unsupported(where: str, part: str, found: object = None) -> UserError:
    return UserError(f"the model cannot be written as ONNX: {part} is not supported", where=where, found=found,
                     do="give it away as one file (--format zip)")


class _Graph(nn.Module):
    """The model as a function of tensors alone. Presence is spread over the voxels, where it is a matter of values and not
    of a branch.
    """

    def __init__(self, model: Model):
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor, present: torch.Tensor | None = None) -> torch.Tensor:
        if present is None:
            return self.model(image)
        absent = ~present[(..., *[None] * (image.ndim - 2))].expand(image.shape)
        return self.model(image, None, None, absent)


def onnx_bytes(model: Model, plan: Plan, configuration: Configuration, where: str) -> bytes:
    """The graph of one network; a UserError that names the parts where torch cannot write it."""
    asks = any(not channel.required for channel in plan.channels)
    graph = _Graph(model).eval()
    image = torch.zeros(2, len(plan.channels), *configuration.patch)
    arguments = (image, torch.ones(2, len(plan.channels), dtype=torch.bool)) if asks else (image,)
    names = ["image", "present"][: len(arguments)]
    batch = torch.export.Dim("batch")
    try:
        with _silent():
            program = torch.export.export(graph, arguments, dynamic_shapes=tuple({0: batch} for _ in names), strict=False)
            written: Any = torch.onnx.export(program, input_names=names, output_names=["logits"], opset_version=_OPSET,
                                             dynamo=True, verbose=False)
        content: bytes = _without_sources(written.model_proto).SerializeToString()
    except Exception as error:  # torch raises dozens of kinds for what it cannot trace or write
        logger.debug("torch cannot write the graph", exc_info=error)
        parts = f"network {configuration.network.name!r} with fusion {configuration.fusion.name!r}"
        raise _unsupported(where, parts, str(error).strip().splitlines()[0][:200]) from error
    return content


def _without_sources(model: Any) -> Any:
    """The graph without what torch notes of every node: the files and lines of its Python, by folders of this machine."""
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer,
                 *model.functions, *(node for function in model.functions for node in function.node)):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    return model


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Without the warnings of torch's exporters, which are about torch."""
    before = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


def description(plan: Plan, configuration: Configuration, graphs: Sequence[str]) -> OnnxModel:
    """What the script must know of the plan."""
    spacing: list[float | None] = list(configuration.spacing_mm)
    z, y, x = [None] * (3 - len(spacing)) + spacing
    swap = plan.labels.twins(plan.labels.heads) if plan.labels.paired else ()
    stats = [plan.intensities[c] if c < len(plan.intensities) else None for c in range(len(plan.channels))]
    return OnnxModel(
        dataset=plan.dataset, graphs=tuple(graphs), channels=tuple(channel.name for channel in plan.channels),
        optional=tuple(not channel.required for channel in plan.channels), orientation=plan.orientation,
        transpose=plan.transpose, spacing_mm=(z, y, x), patch=configuration.patch,
        normalizers=tuple(_normalizer(part.name, known)
                          for part, known in zip(configuration.normalizers, stats, strict=True)),
        mirror_axes=configuration.mirror_axes, head_swap=swap,
        pair_axis=configuration.pair_axis if configuration.pair_axis is None
        else configuration.pair_axis % configuration.dimensions,
        regions=plan.labels.has_regions, values=tuple(label_values(plan.labels).tolist()), labels=plan.labels.names)


def _normalizer(name: str, stats: IntensityStats | None) -> dict[str, float | str]:
    """The kind of a normaliser, with the numbers that `preprocessing.normalize` takes from the statistics."""
    if name != "ct" or stats is None:
        return {"kind": name}
    low, high = stats.percentile_00_5, stats.percentile_99_5
    if high <= low:
        return {"kind": "zscore"}
    mean, std = stats.mean, stats.std or 1.0
    if Bulk(low, high).is_hidden_by(stats.std):
        mean, std = stats.median, (high - low) / DEVIATIONS_IN_99_PERCENT
    return {"kind": "ct", "low": low, "high": high, "mean": mean, "std": std}
