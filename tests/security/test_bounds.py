"""Small files that unpack to, or ask for, more than any machine has; texts that other programs would execute."""

import json
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest

from autoseg.base.errors import AutosegError, UserError, visible
from autoseg.clinical import table
from autoseg.clinical.table import read_table
from autoseg.datasets.manifest import parse_manifest
from autoseg.formats import read_header
from autoseg.reporting.contact_sheet import Row, Shown, contact_sheet
from autoseg.reporting.curves import plot_curves
from autoseg.workspace import files
from autoseg.workspace.files import read_json, read_records
from planners.schema.plan import Plan

DEEP = {"lists": "[" * 10**5, "objects": '{"a":' * 10**5, "closed": "[" * 10**5 + "]" * 10**5,
        "digits": '{"a": ' + "9" * 10**5 + "}", "negative": "[-" + "1" * 10**4 + "]", "empty": "", "zeros": "\0" * 10**4,
        "open text": '"' + "a" * 10**6}


@pytest.mark.parametrize("text", DEEP.values(), ids=DEEP.keys())
def test_json_that_would_end_the_reader_is_refused_with_its_file(text, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"plan\.json"):
        read_json(path)
    with pytest.raises(AutosegError, match=r"dataset\.json"):
        parse_manifest(text, Path("dataset.json"))
    path.write_text(text + '\n{"iteration": 1}\n')
    assert read_records(path) == [{"iteration": 1}]


def test_a_huge_json_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_MOST_JSON_BYTES", 1000)
    (tmp_path / "a.json").write_text("[" + " " * 1000 + "]")
    with pytest.raises(UserError, match="more than"):
        read_json(tmp_path / "a.json")


def workbook(path: Path, rows: str, *, shared: str = "", size: str = "A1") -> Path:
    """A workbook of one sheet, as raw as an attacker writes it."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    package = "http://schemas.openxmlformats.org/package/2006"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", f'<Types xmlns="{package}/content-types">'
                         '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
                         f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
                         f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{kind}.worksheet+xml"/>'
                         f'<Override PartName="/xl/sharedStrings.xml" ContentType="{kind}.sharedStrings+xml"/></Types>')
        archive.writestr("_rels/.rels", f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" '
                         f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>')
        archive.writestr("xl/workbook.xml", f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>'
                         '<sheet name="a" sheetId="1" r:id="r1"/></sheets></workbook>')
        archive.writestr("xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{package}/relationships">'
                         f'<Relationship Id="r1" Type="{office}/worksheet" Target="worksheets/sheet1.xml"/>'
                         f'<Relationship Id="r2" Type="{office}/sharedStrings" Target="sharedStrings.xml"/></Relationships>')
        archive.writestr("xl/sharedStrings.xml", shared or f'<sst xmlns="{main}"></sst>')
        archive.writestr("xl/worksheets/sheet1.xml", f'<worksheet xmlns="{main}"><dimension ref="{size}"/>'
                         f"<sheetData>{rows}</sheetData></worksheet>")
    return path


def row(number: int, *cells: str) -> str:
    inline = "".join(f'<c r="{cell}" t="inlineStr"><is><t>x{cell}</t></is></c>' for cell in cells)
    return f'<row r="{number}">{inline}</row>'


def test_a_raw_workbook_is_read(tmp_path):
    path = workbook(tmp_path / "a.xlsx", row(1, "A1", "B1") + row(3, "A3", "B3"), size="A1:XFD1048576")
    assert read_table(path).columns == ("xA1", "xB1") and read_table(path).rows[0].line == 3


SHEETS = {"a row beyond all": row(1, "A1", "B1") + row(10**9, f"A{10**9}"),
          "columns of all rows": "".join(row(number, f"ZZZ{number}") for number in range(1, 1500)),
          "rows between": row(1, "A1", "B1") + row(1048577, "A1048577")}


@pytest.mark.parametrize("rows", SHEETS.values(), ids=SHEETS.keys())
def test_a_sheet_that_asks_for_more_than_any_table_has_is_refused(rows, tmp_path, monkeypatch):
    monkeypatch.setattr(table, "_MOST_ROWS", 2**14)
    monkeypatch.setattr(table, "_MOST_CELLS", 2**18)
    with pytest.raises(UserError, match="too large"):
        read_table(workbook(tmp_path / "a.xlsx", rows))


def test_a_workbook_that_unpacks_to_a_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "_MOST_BYTES", 2**20)
    path = workbook(tmp_path / "a.xlsx", row(1, "A1"), shared=" " * (2**20 + 1))
    assert path.stat().st_size < 2**13
    with pytest.raises(UserError, match="too large"):
        read_table(path)


def test_entities_of_a_workbook_do_not_grow(tmp_path):
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    shared = ('<?xml version="1.0"?><!DOCTYPE sst [<!ENTITY e0 "lollollol">' + entities + ']><sst xmlns="http://schemas.'
              'openxmlformats.org/spreadsheetml/2006/main"><si><t>&e9;</t></si></sst>')
    with pytest.raises(UserError, match="cannot be read"):
        read_table(workbook(tmp_path / "a.xlsx", row(1, "A1"), shared=shared))


def test_a_text_without_end_is_not_read_as_a_table(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "_MOST_BYTES", 100)
    (tmp_path / "a.csv").write_text("case,age\n" + "a,1\n" * 100)
    with pytest.raises(UserError, match="too large"):
        read_table(tmp_path / "a.csv")


def png(path: Path, width: int, height: int) -> Path:
    """The beginning of a PNG of any size."""
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
                     + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 2**31 - 1), (1, 2**31 - 1), (0, 5)])
def test_a_picture_of_a_size_beyond_all_is_refused(size, tmp_path):
    with pytest.raises(UserError, match=r"a\.png"):
        read_header(png(tmp_path / "a.png", *size))


META = "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = {}\n"
NRRD = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\ndata file: {}\n\n"
PATTERNS = ("%s%s%s%s.raw", "%n%n.raw 1 3 1", "%999999999d.raw 1 2 1", "a%d%d.raw 1 2 1", "%1000d.raw 1 2 1",
            "a%*d.raw 1 2 1", "%-5d", "%x%x", "100%")


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(("ending", "text"), [(".mhd", META), (".mha", META), (".nrrd", NRRD),
                                              (".MHD", META.replace(" =", "="))])
def test_a_header_cannot_hand_a_format_to_printf(ending, text, pattern, tmp_path):
    path = tmp_path / f"a{ending}"
    path.write_text(text.format(pattern))
    with pytest.raises(UserError, match="not safe to read"):
        read_header(path)


def test_a_header_without_an_end_is_refused(tmp_path):
    (tmp_path / "a.mhd").write_text("Comment = a\n" * 10**5 + META.format("%s%s%s%s"))
    with pytest.raises(UserError, match="the file cannot be read"):
        read_header(tmp_path / "a.mhd")


def test_slices_of_a_series_are_still_read(tmp_path):
    for number in (1, 2):
        (tmp_path / f"slice_{number:03}.raw").write_bytes(bytes(4))
    (tmp_path / "a.mhd").write_text(META.format("slice_%03d.raw 1 2 1"))
    assert read_header(tmp_path / "a.mhd").geometry.shape == (2, 2, 2)


@pytest.mark.parametrize("name", ["$x^{$", r"$\frac$ <script>"])
def test_pictures_show_names_as_they_are(name, tmp_path):
    from dataclasses import replace

    from autoseg.datasets.manifest import Manifest
    from autoseg.evaluation.score import score_case
    from planners.schema.channels import ChannelSpec
    from planners.schema.labels import LabelSpec
    from tests_support import sphere_case

    labels = LabelSpec(names={"background": (0,), name: (1,), "core": (2,)})
    manifest = Manifest(channels=(ChannelSpec(name=name),), labels=labels, file_ending=".nii.gz")
    case = replace(sphere_case("a", 3), name=name)
    score = score_case(case.label_DHW, case.label_DHW, labels, case.geometry.spacing_mm, name)
    contact_sheet(tmp_path / "a.png", [Row(case, case.label_DHW, (Shown(name, case.label_DHW, score),))], manifest)
    record = {"iteration": 1, "seconds": 1.0, "train_loss": 1.0, "validation_dice": 0.5, "learning_rate": 0.1,
              "validation_dice_by_label": {name: 0.5, "core": 0.4}}
    plot_curves(tmp_path / "b.png", [record])
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png"}


def test_control_characters_are_written_out():
    assert visible("a\x1b]0;x\x07\r\n\x9b2J\ud800\tä") == "a\\x1b]0;x\\x07\\r\n\\x9b2J\\ud800\\tä"


@pytest.mark.parametrize("depth", [1000, 100_000])
def test_a_plan_of_nested_options_is_refused(depth, tmp_path):
    from tests_support import small_plan

    data = json.dumps(small_plan().model_dump(mode="json")).replace('"options": {}', '"options": ' + '{"a":' * depth + "1"
                                                                    + "}" * depth, 1)
    (tmp_path / "plan.json").write_text(data)
    with pytest.raises(UserError, match=r"plan\.json"):
        files.read_model(tmp_path / "plan.json", Plan)


def test_bandit_finds_nothing():
    """Where it is installed, as in CI."""
    pytest.importorskip("bandit")
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-m", "bandit", "-q", "-c", "pyproject.toml", "-r", "autoseg", "planners"],
                          cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
