"""Write docs/reference/commands.md from the parsers of the console commands in setup.cfg: python docs/make_commands.py"""

import argparse
import configparser
import importlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "commands.md"

_INTRODUCTION = """# Commands

Every command explains itself with `--help`. This page holds the same text. It is made from the commands by
`python docs/make_commands.py`; please do not edit it by hand.

A command ends with status 0 when all went well, with 2 for an error that the user can correct, and with 1 for a bug.
What stops it has a status of its own: 130 for Ctrl-C (SIGINT), 143 for `kill` or a cluster (SIGTERM), 129 for a terminal
that was closed (SIGHUP), 141 where what it printed could not be written. A command that is stopped saves what it can, leaves
no partial file and no process, and names the command that goes on. A second Ctrl-C ends it at once."""


def parsers() -> dict[str, argparse.ArgumentParser]:
    """The parser of each console command, in the order of setup.cfg."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    entries = (line.split("=") for line in config["options.entry_points"]["console_scripts"].strip().splitlines())
    return {name.strip(): importlib.import_module(target.strip().partition(":")[0]).parser() for name, target in entries}


def render() -> str:
    """The page. Its text does not depend on how a version of Python words the help of a parser."""
    from autoseg.cli import common

    shared = [action for action in common.parser("")._actions if action.dest != "help"]
    names = {action.dest for action in shared}
    known = parsers()
    sections = [section for name, parser in known.items() for section in ((name, parser), *_sub_commands(name))]
    parts = [_INTRODUCTION, "\n".join(f"- [{name}](#{name})" for name in known),
             "## Options of every command", _table(shared)]
    for name, parser in sections:
        actions = [action for action in parser._actions if action.dest not in names and action.dest != "help"]
        usage = " ".join([name, *(f"{action.option_strings[0]} {_values(action)}" for action in actions
                                  if action.option_strings and action.required),
                          *(_values(action) for action in actions if not action.option_strings), "[options]"])
        parts += [f"## {name}", " ".join((parser.description or "").split()), _code(usage)]
        if actions:
            parts.append(_table(actions))
        if parser.epilog:
            parts += ["Example:", _code(parser.epilog.removeprefix("example: "))]
    return "\n\n".join(parts) + "\n"


def _sub_commands(name: str) -> list[tuple[str, argparse.ArgumentParser]]:
    """The parsers of a command's sub-commands, such as `autoseg_dicom list`; none of most commands."""
    module = sys.modules.get(f"autoseg.cli.{name.removeprefix('autoseg_')}")
    return [(f"{name} {word}", parser) for word, parser in getattr(module, "sub_parsers", dict)().items()]


def _table(actions: list[argparse.Action]) -> str:
    lines = ["| Option | Value | Meaning |", "|---|---|---|"]
    for action in actions:
        option = ", ".join(f"`{flag}`" for flag in action.option_strings) or f"`{_values(action)}`"
        values = f"`{_values(action)}`" if action.option_strings and action.nargs != 0 else ""
        required = "required; " if action.option_strings and action.required else ""
        lines.append(f"| {option} | {values} | {required}{_meaning(action)} |".replace("|  |", "| |"))
    return "\n".join(lines)


def _values(action: argparse.Action) -> str:
    """What is typed for an argument, such as `FILE`, `on/off` or `F [F ...]`."""
    metavar = action.metavar or action.dest
    if not action.metavar and action.choices:
        metavar = "/".join(map(str, action.choices))
    elif not action.metavar and action.option_strings:
        metavar = metavar.upper()
    forms = {"+": f"{metavar} [{metavar} ...]", "*": f"[{metavar} ...]", "?": f"[{metavar}]"}
    return forms.get(str(action.nargs), str(metavar))


def _meaning(action: argparse.Action) -> str:
    """The help, with the default where the help does not name it."""
    text = " ".join((action.help or "").split()).replace("%%", "%").replace("|", "\\|")
    default = "" if action.default in (None, False, "", []) or "default" in text else f" (default: {action.default})"
    return text + default


def _code(text: str) -> str:
    return "```\n" + "\n".join(line.strip() for line in text.splitlines()) + "\n```"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(render(), encoding="utf-8")
