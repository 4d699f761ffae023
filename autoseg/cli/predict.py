"""autoseg_predict: segment a folder of cases, or one file."""

import argparse
import sys
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.cli import common


def parser() -> argparse.ArgumentParser:
    arguments = common.parser("Segment every case of a folder, or one file. The model is the choice of "
                              "autoseg_find_best_configuration,\nor else all finished folds of the best configuration as "
                              "an ensemble.",
                              "example: autoseg_predict -i imgs -o masks")
    arguments.add_argument("-i", "--input", required=True, type=Path, metavar="PATH",
                           help="folder with CASE_0000.nii.gz, CASE_0001.nii.gz, ... or one file; or a folder of DICOM, in "
                           "which each study is a case")
    arguments.add_argument("-o", "--output", required=True, type=Path, metavar="PATH",
                           help="folder for the masks, or for one case the file of its mask, such as mask.nii.gz")
    arguments.add_argument("-d", "--dataset", metavar="D", help="trained dataset (default: the only one)")
    arguments.add_argument("-c", "--configuration", metavar="C",
                           help="configuration of the model (default: from inference.json, else the best validation Dice)")
    arguments.add_argument("-p", "--planner", metavar="NAME", help="planner of the model (default: likewise)")
    arguments.add_argument("-f", "--folds", nargs="+", metavar="F", help="folds to ensemble (default: all finished with "
                           "a number; `all` counts only where there is no other)")
    arguments.add_argument("-m", "--model", type=Path, metavar="DIR", help="folder of a model, instead of -d, -c and -p; "
                           "where inference.json has chosen this model alone, its postprocessing is applied")
    arguments.add_argument("--output-format", metavar="FORMAT",
                           help="format of the masks: seg or rtstruct, which are objects of DICOM that refer to the series "
                           "of the input, or nifti, nrrd or mha (default: that of the training's files)")
    arguments.add_argument("--save_probabilities", action="store_true",
                           help="also write CASE_probabilities, one channel per class")
    arguments.add_argument("--save_uncertainty", action="store_true",
                           help="also write CASE_entropy and CASE_disagreement, both from 0 to 1")
    arguments.add_argument("--mirroring", choices=("on", "off"), default="on",
                           help="average mirrored predictions where training mirrored (default: on)")
    arguments.add_argument("--skip_background", choices=("on", "off"), default="off",
                           help="predict the whole image coarsely first, and in full only where this coarse pass finds "
                           "something; faster for small structures in large images, but a lesion of a few voxels that the "
                           "coarse pass misses is lost (default: off)")
    arguments.add_argument("--table", type=Path, metavar="FILE",
                           help="clinical table of the cases (default: the training table's name in the input folder)")
    arguments.add_argument("--modality", metavar="M", default="",
                           help="of a model that takes several modalities in one channel: that of all cases of which no "
                           "table says it, such as CT or MR")
    arguments.add_argument("--keep_existing", action="store_true",
                           help="skip cases of which everything is there already, unless other models made it")
    arguments.add_argument("--part", metavar="K/N",
                           help="predict part K of N of the cases, such as 1/4: start N processes, each with another K and "
                           "all with the same -i and -o")
    arguments.add_argument("--adapt", action="store_true",
                           help="experiment: adapt a copy of each network to each case, so that two turned and scaled views "
                           "of it agree, then predict without mirroring; may help on images unlike the training's and may "
                           "harm on others, and costs some hundred passes per case and fold (default: off)")
    arguments.add_argument("--seed", type=int, default=0, help="seed of --adapt (default: 0)")
    arguments.add_argument("--cluster", metavar="ADDRESS",
                           help="predict on a Ray cluster whose machines share these folders: auto, or ray://HOST:PORT")
    common.add_series(arguments)
    common.add_case_names(arguments)
    common.add_device(arguments)
    return arguments


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> None:
    from autoseg import pipeline
    from autoseg.orchestrate import cluster
    from autoseg.orchestrate.distribute import connected
    from autoseg.prediction.inference_settings import Adaptation

    arguments = {"source": common.dicom_input(options), "target": options.output, "dataset": options.dataset,
                 "configuration": options.configuration, "planner": options.planner, "folds": options.folds,
                 "folder": options.model, "home": options.home, "device": options.device,
                 "mirroring": options.mirroring == "on", "skip_background": options.skip_background == "on",
                 "probabilities": options.save_probabilities, "uncertainty": options.save_uncertainty,
                 "keep_existing": options.keep_existing, "table": options.table, "modality": options.modality,
                 "output_format": options.output_format}
    if options.cluster is not None and options.part is not None:
        raise UserError("--cluster divides the cases itself", found=f"--part {options.part}", do="give one of the two")
    if options.adapt:
        if options.cluster is not None:
            raise UserError("--adapt predicts on one machine", do="leave out --cluster, or --adapt")
        arguments["adaptation"] = Adaptation(seed=options.seed)
    with connected(options.cluster) as nodes:
        masks = pipeline.predict(part=options.part, **arguments) if nodes is None else cluster.predict(nodes, **arguments)
    print(f"{len(masks)} {'mask' if len(masks) == 1 else 'masks'} written to {options.output}")


if __name__ == "__main__":
    sys.exit(main())
