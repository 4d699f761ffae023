"""autoseg_dicom: what a folder of DICOM holds, and a raw dataset of it."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass

from autoseg.cli import common, dicom_convert, dicom_list


@dataclass(frozen=True)
class SubCommand:
    """A word after `autoseg_dicom`: what it does, and its arguments."""

    description: str
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int | None]


_COMMANDS = {
    "list": SubCommand("List the volumes below a folder of DICOM: patient, study, series, phase, size, spacing, and what is "
                       "odd with them.\nPatients are numbered and cases have pseudonyms, unless identifiers are asked for.",
                       "example: autoseg_dicom list STUDY", dicom_list.add_arguments, dicom_list.run),
    "convert": SubCommand(dicom_convert.DESCRIPTION, dicom_convert.EXAMPLE, dicom_convert.add_arguments, dicom_convert.run),
}


def parser() -> argparse.ArgumentParser:
    command = common.parser("Work with folders of DICOM. Each sub-command explains itself with --help.",
                            "example: autoseg_dicom list STUDY")
    command.add_argument("command", choices=tuple(_COMMANDS), metavar="COMMAND", help=f"one of: {', '.join(_COMMANDS)}")
    return command


def sub_parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each sub-command by its word; the first argument of each is this word."""
    return {word: _parser_of(word) for word in _COMMANDS}


def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    word = next((word for word in words if word in _COMMANDS), None)
    return common.run(_run, parser() if word is None else _parser_of(word, with_word=True), argv)


def _run(options: argparse.Namespace) -> int | None:
    return _COMMANDS[options.command].run(options)


def _parser_of(word: str, *, with_word: bool = False) -> argparse.ArgumentParser:
    command = _COMMANDS[word]
    sub_parser = common.parser(command.description, command.example)
    if with_word:
        sub_parser.add_argument("command", choices=(word,), metavar=word, help="this sub-command")
    command.add_arguments(sub_parser)
    return sub_parser


if __name__ == "__main__":
    sys.exit(main())
