"""The plans of nnU-Net v2 (2.0 to 2.8) as plans of ours: the same grid, normalisation, resampling and network."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from autoseg.base.errors import UserError
from autoseg.datasets.manifest import Manifest
from autoseg.interop.nnunet_architecture import architecture_of
from planners.classic import SCHEDULE
from planners.schema.base import Part
from planners.schema.fingerprint import IntensityStats
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan, Resampling

_KEPT = {"spikes": "kept"}
_NORMALIZERS = {
    "CTNormalization": Part(name="ct", options=_KEPT), "ZScoreNormalization": Part(name="zscore", options=_KEPT),
    "RescaleTo01Normalization": Part(name="rescale01", options=_KEPT), "RGBTo01Normalization": Part(name="rgb"),
    "NoNormalization": Part(name="none")}
_ZSCORE_MASKED = Part(name="zscore_masked", options=_KEPT)
# Whether a reader of nnU-Net turns images (our orientation), or takes them as they are stored.
_ORIENTATIONS = {"SimpleITKIO": "", "NibabelIO": "", "NaturalImage2DIO": "", "Tiff3DIO": "",
                 "SimpleITKIOWithReorient": "RAS", "NibabelIOWithReorient": "RAS"}
_RESAMPLING = "resample_data_or_seg_to_shape"
_NEVER = 1e9  # an anisotropy that no image has
# What a checkpoint and the plans beside it must say alike of a configuration.
_DECISIVE = ("spacing", "patch_size", "normalization_schemes", "use_mask_for_norm", "architecture", "UNet_class_name",
             "conv_kernel_sizes", "pool_op_kernel_sizes", "n_conv_per_stage_encoder", "n_conv_per_stage_decoder")


def plan_of(plans: Mapping[str, Any], manifest: Manifest, names: Sequence[str], *, dataset: str, planner: str) -> Plan:
    """Some configurations of nnU-Net's plans as a plan of ours, for a dataset and under a planner's name.

    `manifest` is what the `dataset.json` of the model says. Mirroring is along all axes. Raises UserError for a network,
    normalisation, resampling, preprocessor or reader that has no counterpart, and where the plans are not as nnU-Net
    writes them.
    """
    with _read_as_plans():
        return _plan_of(plans, manifest, names, dataset, planner)


@contextmanager
def _read_as_plans() -> Iterator[None]:
    """What plans raise that are not as nnU-Net writes them, as a UserError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        found = f"{error} is missing" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise UserError("the plans are not as nnU-Net v2 writes them", where="plans.json", found=found,
                        do="take the plans.json that nnU-Net put beside the folds of this model") from error


def _plan_of(plans: Mapping[str, Any], manifest: Manifest, names: Sequence[str], dataset: str, planner: str) -> Plan:
    reader = plans["image_reader_writer"]
    _check_known("reader of images", reader, _ORIENTATIONS)
    _check_known("label manager", plans.get("label_manager", "LabelManager"), ("LabelManager",))
    measured = plans.get("foreground_intensity_properties_per_channel",
                         plans.get("foreground_intensity_properties_by_modality", {}))
    intensities = tuple(
        IntensityStats.model_validate({key: measured[str(number)][key] for key in IntensityStats.model_fields})
        for number in range(len(manifest.channels)))
    return Plan(dataset=dataset, planner=planner, channels=manifest.channels, labels=in_order_of_values(manifest.labels),
                intensities=intensities, orientation=_ORIENTATIONS[reader], transpose=tuple(plans["transpose_forward"]),
                file_ending=manifest.file_ending,
                configurations={name: configuration_of(resolved(plans, name), len(manifest.channels)) for name in names},
                reasons=(f"as {plans['plans_name']} of nnU-Net, made by {plans.get('experiment_planner_used', 'it')}",))


def resolved(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A configuration with what it inherits from others; a UserError where one is missing, or inherits from itself."""
    configurations, chain = plans["configurations"], [name]
    while (parent := configurations.get(chain[-1], {}).get("inherits_from")) is not None and parent not in chain:
        chain.append(parent)
    if parent is not None or chain[-1] not in configurations:
        raise UserError("the plans lack a configuration", where="plans.json", found=", ".join(configurations),
                        expected=" from ".join(chain))
    return {key: value for inherited in reversed(chain) for key, value in configurations[inherited].items()}


def configuration_of(configuration: Mapping[str, Any], n_channels: int) -> Configuration:
    """A resolved configuration of nnU-Net as ours; it trains as nnU-Net's default trainer does."""
    _check_known("preprocessor", configuration.get("preprocessor_name", "DefaultPreprocessor"), ("DefaultPreprocessor",))
    architecture, patch = architecture_of(configuration), tuple(map(int, configuration["patch_size"]))
    if faults := architecture.faults(patch):
        raise UserError("the network does not fit its patch", where="plans.json", found="; ".join(faults))
    schemes, masks = configuration["normalization_schemes"], configuration["use_mask_for_norm"]
    if not len(schemes) == len(masks) == n_channels:
        raise UserError("the plans are of other channels than dataset.json", where="plans.json",
                        found=f"{len(schemes)} channels are normalised", expected=str(n_channels))
    previous = configuration.get("previous_stage") or ""
    return Configuration(
        spacing_mm=tuple(configuration["spacing"]), median_shape=tuple(configuration["median_image_size_in_voxels"]),
        patch=patch, batch=configuration["batch_size"], batch_dice=configuration["batch_dice"], architecture=architecture,
        network=Part(name="unet"), augmentation=Part(name="nnunet"), schedule=SCHEDULE,
        resampling=_resampling(configuration),
        normalizers=tuple(_normalizer(scheme, mask) for scheme, mask in zip(schemes, masks, strict=True)),
        mirror_axes=tuple(range(len(patch))), previous=previous)


def _normalizer(scheme: str, masked: bool) -> Part:
    _check_known("normalisation", scheme, _NORMALIZERS)
    return _ZSCORE_MASKED if masked and scheme == "ZScoreNormalization" else _NORMALIZERS[scheme]


def _resampling(configuration: Mapping[str, Any]) -> Resampling:
    """The orders of resampling. Slices are resampled apart by nnU-Net's rule, always, or never."""
    orders, rules = {}, set()
    for kind in ("data", "seg", "probabilities"):
        _check_known(f"resampling of {kind}", configuration.get(f"resampling_fn_{kind}"), (_RESAMPLING,))
        arguments = configuration[f"resampling_fn_{kind}_kwargs"]
        orders[kind] = arguments["order"]
        rules.add((arguments.get("order_z", 0), arguments.get("force_separate_z", False),
                   arguments.get("separate_z_anisotropy_threshold", Resampling().anisotropy_threshold)))
    if len(rules) > 1:
        raise _without_counterpart("resampling of slices by several rules", str(sorted(map(str, rules))), ("one rule",))
    ((order_z, forced, threshold),) = rules
    thresholds = {None: threshold, True: 0.0, False: _NEVER}
    return Resampling(order_image=orders["data"], order_label=orders["seg"], order_logits=orders["probabilities"],
                      order_z=order_z, anisotropy_threshold=thresholds[forced])


def in_order_of_values(labels: LabelSpec) -> LabelSpec:
    """Labels in the order of their values, which is that of nnU-Net's outputs; regions stay as they are declared. Without a
    name of several values there are no regions, whatever order is declared.
    """
    if labels.has_regions and any(len(values) > 1 for values in labels.names.values()):
        return labels
    ordered = dict(sorted(labels.names.items(), key=lambda item: item[1]))
    return labels.model_copy(update={"names": ordered, "region_order": None})


def differing(plans: Mapping[str, Any], trained: Mapping[str, Any], name: str) -> list[str]:
    """What decides a configuration and differs between plans and those that a checkpoint was trained with."""
    with _read_as_plans():
        if name not in trained.get("configurations", {}):
            return []
        mine, theirs = resolved(plans, name), resolved(trained, name)
    keys = [key for key in _DECISIVE if key in mine and key in theirs and _plain(mine[key]) != _plain(theirs[key])]
    turned = plans.get("transpose_forward"), trained.get("transpose_forward")
    return keys + ["transpose_forward"] * (_plain(turned[0]) != _plain(turned[1]))


def _plain(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _check_known(part: str, given: Any, known: Any) -> None:
    if given not in known:
        raise _without_counterpart(part, given, known)


def _without_counterpart(part: str, given: Any, known: Any) -> UserError:
    return UserError(f"the {part} of this model has no counterpart here, so that its predictions would differ",
                     where="plans.json", found=given, expected=", ".join(known),
                     do="predict with nnU-Net, or train a model of autoseg on this dataset")
