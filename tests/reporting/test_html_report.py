"""The report says what is there, says what is not, and lets no name become markup."""

import base64
import builtins
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from autoseg import pipeline
from autoseg.base.errors import UserError
from autoseg.cli import report as command
from autoseg.reporting.html import render as render_module
from autoseg.reporting.html.cases import example_cases
from autoseg.reporting.html.gather import gather
from autoseg.reporting.html.render import render
from autoseg.reporting.html.sections_provenance import changes
from autoseg.reporting.html.sections_selection import headline, quality_control_section, selection_section
from autoseg.reporting.html.sections_training import training_section
from autoseg.workspace.files import write_json
from planners.schema.plan import Schedule
from race_samples import a_race
from report_workspace import CASES, DATASET, EVIL, EVIL_COLUMN, EVIL_LABEL, folder, selection, write_workspace

VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Collects what a page is made of; every tag must be closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.links, self.alts, self.ids, self.text = [], [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        self.links += [values[key] for key in ("src", "href", "srcset", "action") if key in values]
        self.ids += [values["id"]] if "id" in values else []
        if tag == "img":
            self.alts.append(values.get("alt"))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return write_workspace(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def html(workspace):
    return pipeline.report(1, home=workspace.home).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


@pytest.fixture(scope="module")
def data(workspace):
    return gather(workspace, DATASET)


def words(blocks):
    """The text of all blocks."""
    return repr(blocks)


def test_the_page_is_html_with_a_language_and_unique_anchors(html, page):
    assert html.startswith("<!DOCTYPE html>")
    assert '<html lang="en">' in html
    assert len(page.ids) == len(set(page.ids))
    anchors = [link[1:] for link in page.links if link.startswith("#")]
    assert len(anchors) > 9
    assert set(anchors) <= set(page.ids)


def test_nothing_is_asked_of_the_network(html, page):
    assert all(link.startswith(("#", "data:image/")) for link in page.links)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "@import" not in html
    assert "url(" not in html


def test_pictures_are_described_and_the_file_is_small(html, page):
    assert len(page.alts) > 15
    assert all(page.alts)
    assert len(html) < 2_000_000


def test_drawings_are_valid_and_ask_nothing_either(html):
    drawings = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", html)
    assert len(drawings) >= 10
    for drawing in drawings:
        root = ElementTree.fromstring(base64.b64decode(drawing))
        for element in root.iter():
            assert not element.tag.endswith(("script", "image", "foreignObject"))
            assert all(value.startswith("#") for key, value in element.attrib.items() if key.endswith("href"))


def test_names_stay_text(html, page):
    text = "".join(page.text)
    for name in (EVIL, EVIL_LABEL, EVIL_COLUMN):
        assert name in text
        assert name not in html
    assert "b" not in page.tags


def test_what_is_absent_is_said_with_the_command_that_makes_it(html, page):
    text = "".join(page.text)
    assert text.count("autoseg_find_best_configuration 1") >= 3
    assert "autoseg_ablate 1 3d_fullres 0 -p budgeted" in text
    assert "autoseg_train 1 3d_fullres 2 -p budgeted" in text


def test_unfinished_folds_say_how_long_they_need(data):
    text = words(training_section(data).blocks)
    assert "1 fold of 3 not finished (2)" in text
    assert "about 2 min 0 s more" in text  # 120 s, by its latest epoch
    assert "60 of 60" in text
    assert "in training or stopped" in text


def test_failures_name_what_was_missed_and_what_could_not_be_scored(html):
    text = "".join(Page(html).text)
    assert "the mask is damaged" in text
    row = re.search(r"ball_03\s*3d_fullres \(budgeted\)\s*\S+.*?(missed)", text)
    assert row is not None


def test_best_median_and_worst_are_different_cases(data):
    selected = example_cases(data.models[0].cases)
    assert [rank for rank, _ in selected] == ["best", "median", "worst"]
    assert selected[0][1].name == CASES[0]
    dice = [case.mean_dice for _, case in selected]
    assert dice == sorted(dice, reverse=True)
    assert [rank for rank, _ in example_cases(data.models[0].cases[:1])] == ["best"]
    assert example_cases(()) == ()


def test_what_a_training_changed_of_the_plan_is_written_out(data, html):
    assert changes(data, data.models[0]) == ("batch=4",)
    assert "autoseg_train 1 3d_fullres 0 -p budgeted --seed 7 --set batch=4" in html


def test_an_empty_dataset_has_a_report_that_says_what_to_do(tmp_path):
    (tmp_path / "raw" / "Dataset002_Empty").mkdir(parents=True)
    written = pipeline.report(2, home=tmp_path, output=tmp_path / "elsewhere.html")
    text = "".join(Page(written.read_text(encoding="utf-8")).text)
    assert "autoseg_plan_and_preprocess -d 2" in text
    assert "autoseg_train 2 3d_fullres 0" in text
    assert "dataset.json: the file is missing" in text
    assert not (tmp_path / "models").exists()


def test_a_damaged_file_is_a_failure_and_ends_nothing(workspace, tmp_path):
    import shutil

    shutil.copytree(workspace.home, tmp_path / "home")
    broken = type(workspace).open(tmp_path / "home")
    folder(broken, 1).result.write_text("{", encoding="utf-8")
    data = gather(broken, DATASET)
    assert len(data.models[0].finished) == 1
    assert any("not valid JSON" in fault for fault in data.faults)


def test_a_selection_is_told_in_full(workspace, data):
    from dataclasses import replace

    selected = replace(data, selection=selection(workspace))
    text = words((headline(selected), selection_section(selected)))
    assert "3d_fullres (budgeted) + 2d (budgeted)" in text
    assert "not accepted" in text
    assert "+0.100 (+0.100 to +0.100)" in text  # 0.9 less 0.8, in every case
    assert "the largest component of sphere" in text
    assert "the cheapest is as good" in text
    quality_control = words(quality_control_section(selected).blocks)
    assert "0.1200 before and 0.0300 after a temperature of 1.300" in quality_control
    assert "correlation (Pearson) 0.71, n = 4" in quality_control
    assert "1 of 4" in quality_control


def test_a_selection_written_to_the_disk_is_read(workspace, tmp_path, monkeypatch):
    written = selection(workspace)
    path = workspace.selection(DATASET)
    write_json(path, written)
    try:
        monkeypatch.setattr(render_module, "case_pictures", lambda data: ())
        read_again = gather(workspace, DATASET)
        assert read_again.selection == written
        Page(render(read_again))
    finally:
        path.unlink()


def test_the_headline_has_an_interval_and_n(data):
    text = words(headline(data))
    dice = [case.mean_dice for case in data.models[0].cases]
    assert f"{sum(dice) / 4:.3f}" in text
    assert "n = 4 cases" in text
    assert "2 of 3 folds finished" in text


def test_without_jinja2_the_user_is_told_what_to_install(workspace, monkeypatch, capsys):
    real = builtins.__import__

    def missing(name, *arguments, **options):
        if name == "jinja2":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=r"pip install 'autoseg-pipeline\[report\]'"):
        pipeline.report(1, home=workspace.home)
    assert command.main(["1", "--home", str(workspace.home)]) == 2
    assert "autoseg-pipeline[report]" in capsys.readouterr().err


def test_an_unknown_dataset_is_refused(tmp_path, capsys):
    assert command.main(["7", "--home", str(tmp_path)]) == 2
    assert "unknown dataset '7'" in capsys.readouterr().err


def test_a_race_is_drawn_and_told_in_words(tmp_path):
    workspace = write_workspace(tmp_path)
    workspace.race(DATASET).write_text(a_race().model_dump_json())
    plan = workspace.model(DATASET, "budgeted", "3d_fullres").read_plan()
    write_json(workspace.model(DATASET, "budgeted", "2d").plan,
               plan.model_copy(update={"configurations": {"2d": plan.configurations["3d_fullres"]}}))
    write_json(workspace.fold(DATASET, "budgeted", "2d", 0).schedule, Schedule(iterations=60, learning_rate=0.01))
    page = Page(pipeline.report(1, home=workspace.home).read_text(encoding="utf-8"))
    text = " ".join(" ".join(page.text).split())
    assert "race" in page.ids
    assert any("3d_fullres (budgeted): 0.800 after 59 s" in alt for alt in page.alts if alt)
    behind = ("it is certainly behind, also with what it still gains: the whole 95 % interval of the expected difference is "
              "below 0")
    assert f"2d (budgeted) was dropped: {behind} (-0.200 to the leader" in text
    assert "the race cost 60 s, 5% of the total of 20 min 0 s" in text
    assert "dropped in the race" in text and f"Dropped in the race: {behind}." in text


def test_without_a_total_there_is_no_race_to_report(html):
    assert "race" not in Page(html).ids
