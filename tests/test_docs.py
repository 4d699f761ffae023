"""Links, paths and keys that the documentation names are there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from planners.schema.plan import Plan

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [*(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md")),
         ROOT / "benchmarks" / "RESULTS.md", *DOCS]
DESCRIBES_THE_PRESENT = [page for page in PAGES if page.name != "CHANGELOG.md"]

FOLDERS = {"autoseg", "planners", "tests", "benchmarks", "docs", "examples"}
ROOMS = {path.name for path in (ROOT / "autoseg").iterdir() if path.is_dir() and not path.name.startswith("_")}


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """The text of a page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def links(page: Path) -> list[str]:
    return re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose(page)))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def paths(page: Path) -> Iterator[tuple[str, Path]]:
    """Each path of the repository that a page names in backticks: under a top folder, or under a room of autoseg/."""
    for code in re.findall(r"`([^`\n]+)`", prose(page)):
        for word in code.split():
            text = word.rstrip(":,").partition("::")[0]  # of a test, its file
            first = text.split("/")[0]
            if "/" in text and first in FOLDERS | ROOMS and not re.search(r"[<>*]|NNNN", text):
                yield text, (ROOT if first in FOLDERS else ROOT / "autoseg") / text


def keys(model: type[BaseModel]) -> set[str]:
    """The keys of a model's JSON, those of its configurations and of their parts included."""
    names: set[str] = set()
    for name, field in model.model_fields.items():
        names.add(name)
        inner = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for kind in inner:
            if isinstance(kind, type) and issubclass(kind, BaseModel) and kind.__module__ in OF_THE_PLAN:
                names |= keys(kind)
    return names


OF_THE_PLAN = {"planners.schema.plan", "planners.architectures.unet"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page):
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{name_of(page)} links to {link}"
        if anchor:
            assert anchor in anchors(target), f"{name_of(page)} links to {link}; headings: {sorted(anchors(target))}"


@pytest.mark.parametrize("page", DESCRIBES_THE_PRESENT, ids=name_of)
def test_every_path_that_a_page_names_exists(page):
    for text, path in paths(page):
        assert path.exists(), f"{name_of(page)} names {text}"


def test_the_index_links_every_page():
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in links(index)}
    assert linked >= set(DOCS) - {index}


def test_the_index_has_every_decision_once_and_in_order():
    listed = [link for link in links(ROOT / "docs" / "README.md") if link.startswith("decisions/")]
    assert listed == sorted(f"decisions/{page.name}" for page in DOCS if page.parent.name == "decisions")


def test_every_command_is_named_in_the_readme_or_in_a_page_that_leads_through_a_task():
    commands = re.findall(r"^ *(autoseg_\w+) = ", (ROOT / "setup.cfg").read_text(encoding="utf-8"), flags=re.MULTILINE)
    read = [ROOT / "README.md", *(page for page in DOCS if page.parent.name in ("how-to", "start"))]
    text = "".join(page.read_text(encoding="utf-8") for page in read)
    assert commands and [name for name in commands if not re.search(rf"{name}\b", text)] == []


def test_the_reference_of_the_plan_has_every_key():
    text = (ROOT / "docs" / "reference" / "plan.md").read_text(encoding="utf-8")
    assert {key for key in keys(Plan) if f"`{key}`" not in text} == set()


def test_code_names_decisions_that_exist():
    numbers = {page.name[:4] for page in (ROOT / "docs" / "decisions").glob("*.md")}
    for file in [*(ROOT / "autoseg").rglob("*.py"), *(ROOT / "planners").rglob("*.py")]:
        for number, rest in re.findall(r"docs/decisions/(\d{4})([\w\-.]*)", file.read_text(encoding="utf-8")):
            named = f"{number}{rest.rstrip('.')}"
            assert number in numbers and (not rest.strip(".") or (ROOT / "docs" / "decisions" / named).is_file()), file
