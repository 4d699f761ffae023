"""The rules of the architecture, held by the standard library's `ast`."""

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PLANNERS = sorted((ROOT / "planners").rglob("*.py"))
AUTOSEG = sorted((ROOT / "autoseg").rglob("*.py"))
ALL = PLANNERS + AUTOSEG

# From the ground up. A room imports from its own folder and from lower rooms only.
ROOMS = ("base", "workspace", "grids", "formats", "clinical", "datasets", "nn", "preprocessing", "batches", "evaluation",
         "prediction", "training", "planning", "interop", "explain", "outcome", "selection", "reporting", "tracking",
         "pipeline", "orchestrate", "serve", "cli")
# What reads and writes files. Everybody else calls the functions of these.
DISK = ("workspace", "formats", "clinical/table.py",
        "base/memory.py",  # the kernel's files, which say how much memory a container has
        "cli/streams.py")  # the null device
# Rooms from this one on may ask whether a file is there, to decide what is left to do.
MAY_ASK = ROOMS[ROOMS.index("prediction"):]
# Modules of upper rooms that other processes import: those that workers are forked from, and the commands that train a fold
# and write a report.
STARTS_PROCESSES = {"base/processes.py", "orchestrate/processes.py", "orchestrate/detached.py"}

QUESTIONS = {"is_file", "is_dir", "exists", "is_symlink"}
DISK_ATTRIBUTES = {
    "read_text", "read_bytes", "write_text", "write_bytes", "iterdir", "glob", "rglob", "scandir", "listdir", "stat",
    "lstat", "unlink", "rmdir", "rename", "mkdir", "makedirs", "symlink_to", "hardlink_to", "samefile", "touch",
    "memmap", "open_memmap", "fromfile", "tofile", "loadtxt", "genfromtxt", "savetxt", "savez", "savez_compressed",
    "imread", "imwrite", "imsave", "ReadImage", "WriteImage", "ImageFileReader", "ImageSeriesReader", "TiffFile",
    "safe_open", "load_file", "save_file", "read_csv", "read_excel", "read_parquet", "to_excel", "to_parquet",
    "load_workbook", "ZipFile"}
DISK_FUNCTIONS = {
    "np.load", "np.save", "numpy.load", "numpy.save", "torch.load", "torch.save", "json.load", "json.dump", "pickle.load",
    "pickle.dump", "nib.load", "nib.save", "nibabel.load", "nibabel.save", "Image.open", "PIL.Image.open", "io.open",
    "os.open", "os.replace", "os.remove", "os.walk", "os.path.exists", "os.path.isfile", "os.path.isdir"}
DISK_MODULES = {"shutil", "tempfile", "mmap", "glob", "pickle", "sqlite3", "zipfile", "gzip", "safetensors", "nibabel",
                "tifffile", "blosc2", "openpyxl"}


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def place_of(file: Path) -> str:
    return file.relative_to(ROOT / "autoseg").as_posix()


def room_of(file: Path) -> str:
    return place_of(file).split("/")[0].removesuffix(".py")


@pytest.fixture(scope="module", autouse=True)
def _trees_are_dropped():
    """A million nodes, through which every later collection of garbage would look."""
    yield
    for cached in (parsed, nodes, imports):
        cached.cache_clear()


@functools.cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@functools.cache
def nodes(tree: ast.Module) -> tuple[ast.AST, ...]:
    """All that is in a tree; several rules look through it."""
    return tuple(ast.walk(tree))


@functools.cache
def imports(tree: ast.Module) -> frozenset[str]:
    """Dotted names of everything that a file imports, wherever in the file."""
    modules: set[str] = set()
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "imports are absolute"
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(modules)


def dotted(node: ast.expr) -> str:
    """`np.load` of that expression; `?` stands for what is no name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def names(tree: ast.Module) -> set[str]:
    """`open`, `load`, `write_text`: what a file calls, by its last name."""
    return {dotted(node.func).split(".")[-1] for node in nodes(tree) if isinstance(node, ast.Call)}


def is_open(function: str) -> bool:
    """Whether this opens a file: `open`, or a method of that name, but not a class of ours (`Workspace.open`)."""
    owner, _, name = function.rpartition(".")
    return name == "open" and not owner.split(".")[-1][:1].isupper()


def disk_use(tree: ast.Module) -> set[str]:
    """What a file does with the disk: what reads, writes, lists or looks at files, called or handed over."""
    used = {module for module in imports(tree) if module.split(".")[0] in DISK_MODULES}
    for node in nodes(tree):
        if isinstance(node, ast.Attribute):
            used |= {node.attr} & DISK_ATTRIBUTES | {dotted(node)} & DISK_FUNCTIONS
        elif isinstance(node, ast.ImportFrom):
            used |= {alias.name for alias in node.names if not str(node.module).startswith("autoseg")} & DISK_ATTRIBUTES
        elif isinstance(node, ast.Call):
            used |= {dotted(node.func)} if is_open(dotted(node.func)) else set()
            if dotted(node.func).endswith(".to_csv") and (node.args or any(k.arg == "path_or_buf" for k in node.keywords)):
                used.add("to_csv")
    return used


def questions(tree: ast.Module) -> set[str]:
    """Whether files are there: what asks it of a path."""
    return {node.attr for node in nodes(tree) if isinstance(node, ast.Attribute)} & QUESTIONS


@pytest.mark.parametrize("file", PLANNERS, ids=name_of)
def test_planners_are_pure(file):
    tree = parsed(file)
    roots = {module.split(".")[0] for module in imports(tree)}
    assert not roots & {"torch", "autoseg", "pathlib", "os", "io", "time", "random", "datetime", "shutil", "tempfile"}
    assert not names(tree) & {"open", "load", "save"} and not disk_use(tree)


@pytest.mark.parametrize("file", AUTOSEG, ids=name_of)
def test_a_room_imports_only_from_itself_and_from_lower_rooms(file):
    if place_of(file) == "__init__.py":  # the names that users import, which it looks up when they are used
        return
    tree, mine = parsed(file), ROOMS.index(room_of(file))
    used = {module for module in imports(tree) if module.startswith("autoseg.")}
    if place_of(file) not in STARTS_PROCESSES:
        used |= {node.value for node in nodes(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
                 and node.value.startswith("autoseg.") and " " not in node.value}
    for module in used:
        room = module.split(".")[1]
        assert room in ROOMS, f"{name_of(file)} imports {module}, which is in no room"
        assert ROOMS.index(room) <= mine, f"{name_of(file)} imports {module}, from a room above"


def test_every_room_exists_and_every_folder_is_a_room():
    rooms = {room_of(file) for file in AUTOSEG} - {"__init__"}
    assert rooms == set(ROOMS)


@pytest.mark.parametrize("file", AUTOSEG, ids=name_of)
def test_the_version_comes_from_one_place(file):
    for node in nodes(parsed(file)):
        if isinstance(node, ast.ImportFrom) and "__version__" in {alias.name for alias in node.names}:
            assert node.module == "autoseg.base.version"
        if isinstance(node, ast.Attribute) and node.attr == "__version__":
            assert dotted(node.value) != "autoseg"


def test_there_is_no_circle_between_files():
    modules = {file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): file
               for file in ALL}
    # A package imports the parts that register themselves with it; that is its purpose, not a circle.
    edges = {module: {m for m in imports(parsed(file)) if m in modules and m != module and not m.startswith(module + ".")}
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
    for node in nodes(parsed(file)):
        if isinstance(node, ast.FunctionDef):
            length = node.end_lineno - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"


@pytest.mark.parametrize("room", ["nn", "batches"])
def test_networks_and_batches_know_nothing_of_preprocessing(room):
    imported = {module for file in AUTOSEG if room in file.relative_to(ROOT).parts for module in imports(parsed(file))}
    assert not [module for module in imported if module.startswith("autoseg.preprocessing")]


@pytest.mark.parametrize("file", AUTOSEG, ids=name_of)
def test_only_the_rooms_of_the_disk_read_and_write_files(file):
    if not any(place_of(file) == allowed or place_of(file).startswith(allowed + "/") for allowed in DISK):
        assert not disk_use(parsed(file))


@pytest.mark.parametrize("file", AUTOSEG, ids=name_of)
def test_only_rooms_that_decide_what_is_left_to_do_ask_whether_a_file_is_there(file):
    allowed = room_of(file) in MAY_ASK or any(place_of(file).startswith(place) for place in DISK)
    assert allowed or not questions(parsed(file))


@pytest.mark.parametrize("code", [
    "open(path)", "path.open()", "Path('a').open('w')", "path.read_text()", "path.read_bytes()", "path.stat().st_size",
    "list(path.iterdir())", "folder.glob('*.json')", "map(Path.read_text, paths)", "np.load(path)", "torch.load(path)",
    "json.load(file)", "sitk.ReadImage(path)", "import nibabel", "from safetensors.torch import load_file",
    "from PIL import Image\nImage.open(path)", "import mmap", "np.memmap(path)", "from numpy import fromfile",
    "frame.to_csv(path)", "pd.read_csv(path)", "os.replace(a, b)", "path.unlink()", "shutil.rmtree(path)\nimport shutil"])
def test_every_use_of_the_disk_is_seen(code):
    assert disk_use(ast.parse(code))


@pytest.mark.parametrize("code", [
    "Workspace.open(home)", "from autoseg.workspace.files import write_text\nwrite_text(path, '')", "image.save(stream)",
    "text.replace('a', 'b')", "frame.to_csv(index=False)", "json.loads(text)", "model.load_state_dict(weights)"])
def test_what_does_not_touch_the_disk_is_free(code):
    assert not disk_use(ast.parse(code))


@pytest.mark.parametrize("file", ALL, ids=name_of)
def test_only_commands_print(file):
    if "cli" in file.parts:
        return
    assert "print" not in {dotted(node.func) for node in nodes(parsed(file)) if isinstance(node, ast.Call)}


@pytest.mark.parametrize("file", ALL, ids=name_of)
def test_classes_inherit_from_modules_protocols_values_and_errors_only(file):
    allowed = {"Module", "Sequential", "Conv3d", "Protocol", "Frozen", "BaseModel", "Exception", "KeyboardInterrupt",
               "AutosegError", "UserError", "Generic", "StreamHandler", "Enum", "NamedTuple", "ModuleType", "Function",
               "Optimizer"}
    for node in nodes(parsed(file)):
        if isinstance(node, ast.ClassDef):
            bases = {dotted(base.value if isinstance(base, ast.Subscript) else base).split(".")[-1] for base in node.bases}
            assert bases <= allowed, f"{node.name} inherits from {bases - allowed}"
