"""The floors of the house, held by the standard library's `ast`."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLANNERS = sorted((ROOT / "planners").rglob("*.py"))
AUTOSEG = sorted((ROOT / "autoseg").rglob("*.py"))
ALL = PLANNERS + AUTOSEG

# From the ground up; a room imports from its own folder and from lower floors only.
FLOORS = ("base", "workspace", "grids", "formats", "clinical", "datasets", "nn", "preprocessing", "batches", "evaluation",
          "prediction", "training", "planning", "explain", "selection", "reporting", "pipeline", "orchestrate", "cli")
DISK = {"formats", "workspace", "clinical/table.py", "preprocessing/store.py"}


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def imports(file: Path) -> set[str]:
    """Dotted names of everything that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def names(file: Path) -> set[str]:
    """`open`, `np.load`, `path.write_text`: what a file calls, by its last name."""
    called = [node.func for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    return {func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "") for func in called}


@pytest.mark.parametrize("file", PLANNERS, ids=name_of)
def test_planners_are_pure(file):
    roots = {module.split(".")[0] for module in imports(file)}
    assert not roots & {"torch", "autoseg", "pathlib", "os", "io", "time", "random", "datetime", "shutil", "tempfile"}
    assert not names(file) & {"open", "load", "save", "savez", "fromfile", "tofile", "read_text", "write_text"}


@pytest.mark.parametrize("file", AUTOSEG, ids=name_of)
def test_a_room_imports_only_from_its_floor_and_below(file):
    parts = file.relative_to(ROOT / "autoseg").with_suffix("").parts
    if parts[0] == "__init__":
        return
    mine = FLOORS.index(parts[0])
    for module in imports(file):
        if module.startswith("autoseg.") and module.split(".")[1] in FLOORS:
            assert FLOORS.index(module.split(".")[1]) <= mine, f"{name_of(file)} imports {module}, a floor above"


def test_there_is_no_circle_between_files():
    modules = {file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): file
               for file in ALL}
    # A package imports the parts that register themselves with it; that is its purpose, not a circle.
    edges = {module: {m for m in imports(file) if m in modules and m != module and not m.startswith(module + ".")}
             for module, file in modules.items()}
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, "circle: " + " -> ".join([*path[path.index(module):], module])
        if module not in done:
            for other in edges[module]:
                walk(other, (*path, module))
            done.add(module)

    for module in modules:
        walk(module, ())


@pytest.mark.parametrize("file", ALL, ids=name_of)
def test_no_file_exceeds_400_lines_and_no_function_60(file):
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"


@pytest.mark.parametrize("room", ["nn", "batches"])
def test_networks_and_batches_know_nothing_of_preprocessing(room):
    imported = {module for file in AUTOSEG if room in file.relative_to(ROOT).parts for module in imports(file)}
    assert not [module for module in imported if module.startswith("autoseg.preprocessing")]


@pytest.mark.parametrize("file", AUTOSEG, ids=name_of)
def test_only_readers_workspace_and_checkpoint_touch_the_disk(file):
    place = file.relative_to(ROOT / "autoseg").as_posix()
    if any(place == allowed or place.startswith(allowed + "/") for allowed in DISK):
        return
    used = names(file)
    assert not used & {"write_bytes", "savez", "imsave", "imwrite", "to_csv", "savetxt", "mkdir"}
    methods = {node.func.attr for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
               if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)}
    assert "write_text" not in methods  # workspace.write_text, called by its name, is the way
    opened = {node.func.id for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
              if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert "open" not in opened or place == "base/runtime.py", "base/runtime.py reads the limits of a container"


@pytest.mark.parametrize("file", ALL, ids=name_of)
def test_only_commands_print(file):
    if "cli" in file.parts:
        return
    called = {node.func.id for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
              if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert "print" not in called


@pytest.mark.parametrize("file", ALL, ids=name_of)
def test_classes_inherit_from_modules_protocols_values_and_errors_only(file):
    allowed = {"Module", "Sequential", "Protocol", "Frozen", "BaseModel", "Exception", "AutosegError", "Generic",
               "StreamHandler", "Enum", "NamedTuple", "ModuleType", "Function"}
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ClassDef):
            bases = {base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", None)
                     or getattr(getattr(base, "value", None), "id", "") for base in node.bases}
            assert bases <= allowed, f"{node.name} inherits from {bases - allowed}"
