"""How the code is divided: lines of each room, and what its files import from other rooms.

    python benchmarks/structure.py [ROOT]

A room is `planners` or a folder of `autoseg`. A door is a pair of rooms of which one imports from the other; `names` counts
the imports of single names through all doors.
"""

import argparse
import ast
from collections import Counter
from pathlib import Path

FACADES = ("__init__", "pipeline", "planners")  # everybody may use planners; the others are not rooms


def room_of(module: str) -> str:
    """`grids` of `autoseg.grids.boxes`; `planners` of everything in there."""
    parts = module.split(".")
    return parts[1] if parts[0] == "autoseg" and len(parts) > 1 else parts[0]


def imported(file: Path) -> list[str]:
    """Modules that a file imports from the project, one entry per name."""
    modules = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("autoseg", "planners"):
            modules += [node.module] * len(node.names)
    return modules


def measure(root: Path) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """Lines of each room, and the number of names that pass through each door."""
    lines: Counter[str] = Counter()
    doors: Counter[tuple[str, str]] = Counter()
    for file in [*(root / "autoseg").rglob("*.py"), *(root / "planners").rglob("*.py")]:
        room = room_of(".".join(file.relative_to(root).with_suffix("").parts))
        lines[room] += len(file.read_text(encoding="utf-8").splitlines())
        for module in imported(file):
            other = room_of(module)
            if other != room and not {room, other} & set(FACADES):
                doors[room, other] += 1
    return lines, doors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).parents[1])
    lines, doors = measure(parser.parse_args().root)
    for room, count in sorted(lines.items()):
        enters = sum(names for (_, other), names in doors.items() if other == room)
        leaves = sum(names for (origin, _), names in doors.items() if origin == room)
        print(f"{room:16} {count:6} lines, imports {leaves:4} names, gives {enters:4}")
    print(f"{sum(lines.values())} lines, {len(doors)} doors, {sum(doors.values())} names through them")


if __name__ == "__main__":
    main()
