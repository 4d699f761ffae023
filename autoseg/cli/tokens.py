"""autoseg_tokens: tiles of histology become bags of tokens, which condition a model."""

import argparse
import json
import sys

from autoseg.cli import common


def parser() -> argparse.ArgumentParser:
    command = common.parser("Encode the tiles of each case (DIR/CASE/*.png, .tif, .jpg, or DIR/CASE/SLIDE/*) as a bag of\n"
                            "tokens: tokens/NAME/CASE.npy of the dataset. Blank tiles are left out.",
                            "example: autoseg_tokens -d 1 --tiles tiles --name histology --preprocess macenko")
    place = command.add_mutually_exclusive_group(required=True)
    place.add_argument("-d", "--dataset", metavar="D", help="by number or name; bags of test cases go to its imagesTs")
    place.add_argument("-o", "--output", metavar="DIR",
                       help="write DIR/tokens/NAME/CASE.npy of every folder of tiles: DIR is one of images to predict")
    command.add_argument("--tiles", required=True, metavar="DIR", help="a folder for each case, with its tiles")
    command.add_argument("--name", default="histology", metavar="NAME", help="name of the condition (default: histology)")
    command.add_argument("--encoder", default="small", metavar="NAME",
                         help="small (default), one that a plug-in registers, or the folder of a 2D pre-training "
                              "(models/DATASET/PLANNER/2d/pretrained_mae)")
    command.add_argument("--preprocess", default="none", metavar="NAME",
                         help="none (default), or macenko: bring the stains of each tile to the reference")
    command.add_argument("--most", type=common.positive, default=256, metavar="N",
                         help="tokens of a case; of more tiles so many are drawn (default: 256)")
    command.add_argument("--tissue", type=float, default=0.05, metavar="SHARE",
                         help="a tile with less tissue is blank (default: 0.05 of its pixels)")
    command.add_argument("--seed", type=int, default=0, help="seed of which tiles are drawn (default: 0)")
    common.add_device(command)
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> None:
    from pydantic import ValidationError

    from autoseg.base.errors import UserError
    from autoseg.orchestrate.tokens import encode_tiles, encoder_named
    from autoseg.preprocessing.tokens.bags import BagSettings
    from planners.schema.base import Part, complaints_of

    try:
        settings = BagSettings(encoder=encoder_named(options.encoder), preprocess=Part(name=options.preprocess),
                               tissue=options.tissue, most=options.most, seed=options.seed)
    except ValidationError as error:
        raise UserError("an option is wrong", found=complaints_of(error)) from None
    written = encode_tiles(options.tiles, dataset=options.dataset, output=options.output, name=options.name,
                           settings=settings, home=options.home, device=options.device)
    for bags in written:
        records = bags.cases.values()
        with_bag = sum(record.tokens > 0 for record in records)
        print(f"{bags.folder}: {with_bag} cases, {sum(record.tokens for record in records)} tokens of {bags.features} "
              f"features; {sum(record.blank for record in records)} blank tiles left out")
    if options.dataset:
        block = {"conditions": {"tokens": {options.name: f"tokens/{options.name}"}}}
        print(f"next: declare it in dataset.json: {json.dumps(block)[1:-1]} (autoseg_describe_inputs -d {options.dataset} "
              "--write adds it)")


if __name__ == "__main__":
    sys.exit(main())
