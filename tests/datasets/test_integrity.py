import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from autoseg.base.errors import TooLarge
from autoseg.datasets import headers, integrity
from autoseg.datasets.integrity import verify
from autoseg.formats import write_array, write_label
from autoseg.grids.geometry import Geometry


def test_a_sound_dataset_has_no_fault_and_no_warning(raw):
    report = verify(raw(n_channels=2))
    assert (report.faults, report.warnings, report.n_cases) == ((), (), 2)


def test_all_faults_of_all_cases_are_told(raw, geometry, image_DHW, label_DHW):
    folder = raw(n_cases=5, numTraining=7)
    write_array(folder / "imagesTr/case0_0000.nii.gz", image_DHW[None] * np.inf, geometry)
    write_label(folder / "labelsTr/case0.nii.gz", label_DHW + 5, geometry)
    (folder / "imagesTr/case1_0000.nii.gz").write_bytes(b"")
    (folder / "labelsTr/case2.nii.gz").unlink()
    write_label(folder / "labelsTr/case3.nii.gz", label_DHW, Geometry(geometry.shape, (9.0, 2.0, 1.0)))
    (folder / "imagesTr/stray.nii.gz").write_bytes(b"x")
    text = "\n".join(verify(folder).faults)
    for words in ("'numTraining' is not the number of cases (found: 7; expected: 5)", "stray.nii.gz: the name has no",
                  "case0_0000.nii.gz: the image holds NaN", "case0.nii.gz: label values are not declared",
                  "case1_0000.nii.gz: the file is empty", "case case2: the case has no label",
                  "case3.nii.gz: the grid of the label differs"):
        assert words in text
    assert len(text.splitlines()) == 7


def test_a_header_that_takes_more_memory_than_there_is_ends_no_other_case(raw, monkeypatch):
    folder, read = raw(n_cases=3), headers.read_header

    def read_or_fail(source):
        if source.path.name.startswith("case0"):
            raise TooLarge("it takes more memory than there is", where=source.path)
        return read(source)

    monkeypatch.setattr(headers, "read_header", read_or_fail)
    (folder / "imagesTr/case2_0000.nii.gz").write_bytes(b"")
    report = verify(folder)
    assert len(report.faults) == 2 and "case0_0000.nii.gz: it takes more memory" in report.faults[0]


@pytest.mark.parametrize("error", [ZeroDivisionError("by nothing"), MemoryError()])
def test_an_error_of_a_library_is_a_fault_of_its_file_and_ends_no_other_case(raw, monkeypatch, error):
    folder = raw(n_cases=3)
    (folder / "imagesTr/case2_0000.nii.gz").write_bytes(b"")
    read = integrity.checked_image

    def broken(path):
        if path.name == "case1_0000.nii.gz":
            raise error
        return read(path)

    monkeypatch.setattr(integrity, "checked_image", broken)
    first, second = sorted(verify(folder).faults)
    words = "not enough memory" if isinstance(error, MemoryError) else "ZeroDivisionError: by nothing"
    assert first.endswith(f"case1_0000.nii.gz: {words}") and "case2_0000.nii.gz: the file is empty" in second


def test_workers_find_the_same(raw, geometry, label_DHW):
    folder = raw(n_cases=3)
    write_label(folder / "labelsTr/case1.nii.gz", label_DHW + 1, geometry)
    (folder / "imagesTr/case2_0000.nii.gz").write_bytes(b"")
    done = []
    assert verify(folder, workers=2, progress=lambda: done.append(1)) == verify(folder, workers=1)
    assert len(done) == 3


def test_voxels_are_checked_though_the_grids_differ(raw, geometry, image_DHW):
    folder = raw()
    other = Geometry(geometry.shape, (3.0, 2.0, 4.0))
    write_array(folder / "imagesTr/case0_0000.nii.gz", image_DHW[None] * np.nan, other)
    faults = verify(folder).faults
    assert len(faults) == 2 and "NaN" in faults[1]


def test_a_fault_of_dataset_json_is_the_report(raw):
    folder = raw(file_ending=".xyz", numTraining="2")
    assert len(verify(folder).faults) == 2
    (folder / "dataset.json").unlink()
    assert "dataset.json: the file is missing" in verify(folder).faults[0]


def test_a_label_that_never_occurs_is_warned_of(raw):
    report = verify(raw(labels={"background": 0, "a": 1, "b": 2, "c": 3}))
    assert report.faults == ()
    assert len(report.warnings) == 1 and "the label 'c' (3) is in no case" in report.warnings[0]


def test_a_label_is_not_missed_while_some_cannot_be_read(raw):
    folder = raw(labels={"background": 0, "a": 1, "b": 2, "c": 3})
    (folder / "labelsTr/case0.nii.gz").write_bytes(b"")
    assert verify(folder).warnings == ()


def test_the_same_image_twice_is_warned_of(raw):
    folder = raw()
    shutil.copy(folder / "imagesTr/case0_0000.nii.gz", folder / "imagesTr/case1_0000.nii.gz")
    assert verify(folder).warnings == ("case0_0000.nii.gz, case1_0000.nii.gz: the files have the same content",)


def test_an_image_of_one_value_is_warned_of(raw, geometry):
    folder = raw()
    write_array(folder / "imagesTr/case0_0000.nii.gz", np.full((1, 4, 5, 6), 7, np.float32), geometry)
    assert verify(folder).warnings[0].endswith("case0_0000.nii.gz: every voxel is 7")


def test_spikes_that_hide_an_image_are_warned_of_with_figures(raw, geometry):
    folder = raw()
    image_DHW = np.random.default_rng(0).normal(0.1, 0.02, geometry.shape).astype(np.float32)
    image_DHW[0, 0, 0] = 1e6
    write_array(folder / "imagesTr/case0_0000.nii.gz", image_DHW[None], geometry)
    (warning,) = verify(folder).warnings
    assert "case0_0000.nii.gz: 1 of 120 voxels hide the contrast of the others: values reach from" in warning
    assert "to 1e+06" in warning


def test_an_optional_channel_of_no_case_is_a_fault(raw):
    folder = raw(n_channels=2, optional_channels=["MR1"])
    for path in (folder / "imagesTr").glob("*_0001.nii.gz"):
        path.unlink()
    (fault,) = verify(folder).faults
    assert "the optional channel 'MR1' is in no case" in fault


def test_a_channel_that_is_not_declared_is_a_fault(raw):
    folder = raw(n_channels=2)
    content = json.loads((folder / "dataset.json").read_text()) | {"channel_names": {"0": "MR0"}}
    (folder / "dataset.json").write_text(json.dumps(content))
    assert all("the number of channels is wrong" in fault for fault in verify(folder).faults)


@pytest.mark.parametrize(("dataset", "n_cases"), [("Dataset004_Hippocampus", 200), ("Dataset020_Membrane", 20)])
def test_real_datasets_are_sound(shared_data, dataset, n_cases):
    report = verify(shared_data / dataset)
    assert (report.faults, report.warnings, report.n_cases) == ((), (), n_cases)


def put_second_channel(folder, image_DHW, x_mm, case=0):
    """A case's second channel on a grid whose first column lies at x_mm; the reference reaches from -7.5 to -1.5 mm."""
    write_array(folder / f"imagesTr/case{case}_0001.nii.gz", image_DHW[None],
                Geometry(image_DHW.shape, (3.0, 2.0, 1.0), (x_mm, 11.0, 30.0)))


def test_channels_on_grids_of_their_own_are_sound_where_a_reference_is_named(raw, image_DHW):
    folder = raw(n_channels=2, reference_channel="MR0")
    put_second_channel(folder, image_DHW, -9.0)
    report = verify(folder)
    assert (report.faults, report.warnings) == ((), ())


def test_channels_that_do_not_overlap_are_a_fault(raw, image_DHW):
    folder = raw(n_channels=2, reference_channel="MR0")
    put_second_channel(folder, image_DHW, 50.0)
    (fault,) = verify(folder).faults
    assert "case0_0001.nii.gz" in fault and "do not overlap" in fault and "x 50 to 56" in fault


def test_a_channel_that_registration_has_yet_to_move_is_only_warned_of(raw, image_DHW):
    folder = raw(n_channels=2, reference_channel="MR0", registration={"MR1": "rigid"})
    put_second_channel(folder, image_DHW, 50.0)
    report = verify(folder)
    (warning,) = report.warnings
    assert report.faults == () and "case0_0001.nii.gz) covers 0.0% of the grid of channel 0 'MR0'" in warning


def test_a_channel_that_sees_little_is_warned_of(raw, image_DHW):
    folder = raw(n_channels=2, reference_channel="MR0")
    put_second_channel(folder, image_DHW[:1, :1], -9.0)  # a row of 4 of the 120 voxels
    (warning,) = verify(folder).warnings
    assert "channel 1 'MR1'" in warning and "covers 3.3% of the grid" in warning


def test_a_channel_that_sees_nothing_of_the_label_is_warned_of(raw, image_DHW, label_DHW, geometry):
    folder = raw(n_channels=2, reference_channel="MR0", labels={"background": 0, "a": 1, "ignore": 2})
    put_second_channel(folder, image_DHW, -4.0)  # the last three columns; label 1 is in the first two
    report = verify(folder)
    (warning,) = report.warnings
    assert report.faults == () and "case0_0001.nii.gz) covers nothing of what is labelled" in warning


def test_faults_and_oddities_of_the_table_are_told_with_the_others(raw, geometry):
    table = {"table": "clinical.csv", "columns": {"age": {"kind": "number"}}}
    folder = raw(conditions=table, groups={"patient": "person"})
    (folder / "imagesTr/case0_0000.nii.gz").write_bytes(b"")
    assert sum("clinical.csv: the file is missing" in fault for fault in verify(folder).faults) == 1
    (folder / "clinical.csv").write_text("case,age,person\ncase0,old,1\ncase1,50,2\nnobody,1,3\n")
    report = verify(folder)
    assert len(report.faults) == 2 and "the file is empty" in report.faults[0]
    assert "text in the number column 'age'" in report.faults[1]
    (folder / "clinical.csv").write_text("case,age,person\ncase0,40,1\ncase1,50,2\nnobody,1,3\n")
    assert any("1 row without a case (nobody)" in warning for warning in verify(folder).warnings)


def test_real_channels_on_three_grids_are_sound_where_a_reference_is_named(sarcomas):
    report = verify(sarcomas("STS_019", "STS_025"))
    assert (report.faults, report.warnings, report.n_cases) == ((), (), 2)


def test_a_case_in_another_unit_than_the_others_is_warned_of(raw, image_DHW, label_DHW, geometry):
    folder = raw(n_cases=4)
    tiny = replace(geometry, spacing_mm=tuple(mm / 1000 for mm in geometry.spacing_mm))
    write_array(folder / "imagesTr/case1_0000.nii.gz", image_DHW[None], tiny)
    write_label(folder / "labelsTr/case1.nii.gz", label_DHW, tiny)
    sentence = "case case1: its voxels have 1e-09 times the volume"
    assert any(warning.startswith(sentence) for warning in verify(folder).warnings)
