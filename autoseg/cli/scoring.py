"""The options that say what is measured and how, for every command that scores."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoseg.evaluation.types import Scoring
    from planners.schema.labels import LabelSpec

GROUPS = ("overlap", "volume", "surface", "detection", "accuracy")
DETECTION = ("one_to_one", "brats", "isles", "autopet", "panoptica")
DEFAULT_GROUPS = ("overlap", "volume", "accuracy")


def add_labels(parser: argparse.ArgumentParser) -> None:
    """Options for the dataset.json that declares the labels."""
    parser.add_argument("-d", "--dataset", metavar="D", help="dataset that declares the labels")
    parser.add_argument("--dataset_json", type=Path, metavar="FILE", help="its dataset.json, instead of -d")


def add_scoring(parser: argparse.ArgumentParser) -> None:
    """The metrics and their settings."""
    parser.add_argument("--metrics", nargs="+", choices=(*GROUPS, "all"), default=list(DEFAULT_GROUPS), metavar="GROUP",
                        help=f"groups of metrics: {', '.join(GROUPS)}, or all (default: {' '.join(DEFAULT_GROUPS)}; "
                        "surface takes up to a hundred times longer; detection is for labels in several pieces, such as "
                        "lesions)")
    parser.add_argument("--nsd_tolerance", nargs="+", type=tolerance, default=[], metavar="MM",
                        help="tolerance of the surface Dice in mm; LABEL=MM for one label (default: 2)")
    parser.add_argument("--surface", choices=("mesh", "surfel"),
                        help="what distances are measured between: a mesh, near the geometric truth, or surfels, as in the "
                        "package surface-distance, for comparison with publications (default: mesh)")
    parser.add_argument("--empty", choices=("nan", "one"), default="nan",
                        help="score of two empty masks: nan (counted, but left out of means) or one (default: nan)")
    parser.add_argument("--detection", choices=DETECTION, metavar="RULE",
                        help="when a lesion counts as found: one_to_one (the largest overlaps, from an IoU of 0.1), or as "
                        f"in {', '.join(DETECTION[1:])} (default: one_to_one)")
    parser.add_argument("--lesion_iou", type=float, metavar="IOU", help="IoU from which lesions match one to one (default: "
                        "0.1; panoptica: 0.5)")
    parser.add_argument("--lesion_dilation", type=int, metavar="VOXELS",
                        help="true lesions that touch after so many steps of dilation are one (brats: 3; meningiomas and "
                        "metastases there: 1)")
    parser.add_argument("--lesion_min_mm3", type=float, metavar="MM3",
                        help="smaller true lesions are neither found nor missed (default: 0; brats: above 50)")
    parser.add_argument("--lesion_small_false", choices=("count", "leave_out"),
                        help="whether false lesions below the minimum size count (default: count)")
    parser.add_argument("--lesion_sizes_ml", nargs="+", type=float, metavar="ML",
                        help="limits between the size classes of which recall is reported (default: 0.1 1 10)")


def tolerance(text: str) -> tuple[str | None, float]:
    """Label (None: all other labels) and millimetres, from `2` or `tumour=3`."""
    label, _, number = text.rpartition("=")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf") or (not label and "=" in text):
        raise argparse.ArgumentTypeError(f"expected millimetres such as 2, or LABEL=MM such as tumour=3, found {text!r}")
    return label or None, value


def scoring_from(options: argparse.Namespace) -> "Scoring":
    """The scoring that the options describe. Raises UserError where they do not fit together."""
    from pydantic import ValidationError

    from autoseg.base.errors import UserError
    from autoseg.evaluation.types import DETECTION_RULES, DetectionRule, scoring_of
    from planners.schema.base import complaints_of

    groups = GROUPS if "all" in options.metrics else options.metrics
    rule = {"min_iou": options.lesion_iou, "min_mm3": options.lesion_min_mm3, "sizes_ml": options.lesion_sizes_ml,
            "dilation": options.lesion_dilation, "small_false": options.lesion_small_false}
    given = {key: value for key, value in rule.items() if value is not None}
    for group, asked, option in (("surface", options.nsd_tolerance, "--nsd_tolerance"),
                                 ("surface", options.surface, "--surface"),
                                 ("detection", options.detection, "--detection"),
                                 ("detection", given, "--lesion_...")):
        if asked and group not in groups:
            raise UserError(f"{option} is an option of metrics that are not asked for",
                            found=f"--metrics {' '.join(groups)}", do=f"add {group} to --metrics")
    try:
        preset = DETECTION_RULES[options.detection or DETECTION[0]].model_dump(exclude_unset=True)
        detection = DetectionRule(**{**preset, **given})
    except ValidationError as error:
        raise UserError("the detection options are not valid", found=complaints_of(error)) from None
    tolerances = dict(options.nsd_tolerance)
    general = {"nsd_tolerance_mm": tolerances.pop(None)} if None in tolerances else {}
    if options.surface is not None:
        general["surface"] = options.surface
    return scoring_of(groups, empty=options.empty, detection=detection, nsd_tolerance_mm_of=tolerances, **general)


def described(options: argparse.Namespace) -> Path:
    """The path of dataset.json, or of the folder that holds it. Raises UserError where neither is given."""
    from autoseg.base.errors import UserError
    from autoseg.workspace.names import Workspace

    if options.dataset_json is not None:
        return options.dataset_json
    if options.dataset is None:
        raise UserError("the labels are not declared", do="name the dataset with -d, or --dataset_json FILE")
    workspace = Workspace.open(options.home)
    return workspace.raw(workspace.dataset(options.dataset))


def declared_labels(options: argparse.Namespace) -> "LabelSpec | None":
    """The labels of the dataset that the options name; None where they name none."""
    from autoseg.datasets.dataset import read_manifest

    return None if options.dataset is None and options.dataset_json is None else read_manifest(described(options)).labels
