"""autoseg_explain: what a trained fold looks at, with the controls of every map."""

import argparse
import sys
from pathlib import Path

from autoseg.cli import common

_KINDS = ("gradcam", "smoothgrad", "attention", "occlusion")


def parser() -> argparse.ArgumentParser:
    command = common.parser(
        "Show what a trained fold looks at when it segments: maps of each label (Seg-Grad-CAM, SmoothGrad, attention),\n"
        "and what the prediction becomes without each channel, column and lesion. Every map has its controls beside it:\n"
        "whether deleting what it marks does more than deleting as much elsewhere, and whether it changes when the weights\n"
        "are shuffled.",
        "example: autoseg_explain -d 1 -i imgs --cases case_0003 --labels labels")
    command.add_argument("-i", "--input", required=True, type=Path, metavar="PATH",
                         help="folder with CASE_0000.nii.gz, CASE_0001.nii.gz, ... or one file")
    command.add_argument("-o", "--output", type=Path, metavar="DIR",
                         help="folder for maps, pictures and explanations.json (default: explanations/ of the fold, where "
                         "autoseg_report finds them)")
    command.add_argument("-d", "--dataset", metavar="D", help="trained dataset (default: the only one)")
    command.add_argument("-c", "--configuration", metavar="C",
                         help="configuration of the model (default: the best validation Dice)")
    command.add_argument("-p", "--planner", metavar="NAME", help="planner of the model (default: likewise)")
    command.add_argument("-f", "--fold", metavar="F", help="the fold to explain (default: the first that is finished)")
    command.add_argument("-m", "--model", type=Path, metavar="DIR", help="folder of a model, instead of -d, -c and -p")
    command.add_argument("--cases", nargs="+", default=[], metavar="CASE", help="explain these cases only (default: all)")
    command.add_argument("--labels", type=Path, metavar="DIR",
                         help="true labels of the cases: occlusions are then measured by Dice, too")
    command.add_argument("--methods", nargs="+", choices=_KINDS, default=list(_KINDS), metavar="METHOD",
                         help="gradcam, smoothgrad, attention, occlusion (default: all)")
    command.add_argument("--only", nargs="+", default=[], metavar="LABEL",
                         help="maps of these labels (default: of all that are predicted)")
    command.add_argument("--target", default="class", metavar="T",
                         help="what of a label is explained: class (all of it), component:K (1 is the largest) or "
                         "voxel:z,y,x, from 0, in the order of the array (default: class)")
    command.add_argument("--layer", metavar="NAME",
                         help="layer of Seg-Grad-CAM: encoder_0, ..., bottleneck, ..., decoder_0; 0 has full resolution; a "
                         "wrong name lists them (default: the nearest to the logits, decoder_0)")
    command.add_argument("--regions", choices=("components", "blocks", "none"), default="components",
                         help="regions that are occluded: the largest predicted components, at most 64 blocks of the whole "
                         "image, which also gives a map, or none (default: components)")
    command.add_argument("--samples", type=common.positive, default=8, metavar="N",
                         help="noisy copies of SmoothGrad (default: 8)")
    command.add_argument("--draws", type=_several, default=5, metavar="N",
                         help="random deletions that a map is compared with (default: 5)")
    command.add_argument("--table", type=Path, metavar="FILE",
                         help="clinical table of the cases (default: the training table's name in the input folder)")
    command.add_argument("--modality", metavar="M", default="",
                         help="of a model that takes several modalities in one channel: that of all cases of which no table "
                         "says it, such as CT or MR")
    command.add_argument("--seed", type=int, default=0, help="seed of noise, deletions and shuffles (default: 0)")
    common.add_device(command)
    return command


def _several(text: str) -> int:
    n = common.positive(text)
    if n < 2:
        raise argparse.ArgumentTypeError(f"expected at least 2, found {text!r}: one draw has no interval")
    return n


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> None:
    from autoseg.explain.run import Settings
    from autoseg.explain.target import parse_request
    from autoseg.orchestrate.explain import ExplainedModel, explain

    settings = Settings(kinds=tuple(options.methods), layer=options.layer or "", request=parse_request(options.target),
                        only=tuple(options.only), samples=options.samples, draws=options.draws, regions=options.regions,
                        seed=options.seed)
    model = ExplainedModel(options.dataset, options.configuration, options.planner, options.fold, options.model)
    folder, known = explain(options.input, options.output, model=model, settings=settings, labels=options.labels,
                            cases=options.cases, table=options.table, modality=options.modality, home=options.home,
                            device=options.device)
    for case in known.cases:
        for record in case.maps:
            print(f"{case.case}, {record.title}: {record.sentence}")
    n = len(known.cases)
    print(f"{sum(len(case.maps) for case in known.cases)} maps of {n} case{'' if n == 1 else 's'} are in {folder}")


if __name__ == "__main__":
    sys.exit(main())
