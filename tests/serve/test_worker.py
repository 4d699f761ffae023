"""A worker: its masks are those of autoseg_predict, and whatever a job holds, it goes on."""

import io
import struct
import subprocess
import sys
import zipfile
from collections import Counter

import numpy as np
import pytest

from autoseg.cli import predict
from autoseg.formats import read_label, write_array
from autoseg.grids.geometry import Geometry
from autoseg.serve.outputs import small, surface_of
from autoseg.serve.run_job import conditions_of_row
from autoseg.workspace.jobs.types import JobRequest
from planners.schema.channels import ChannelSpec
from planners.schema.conditions import ConditionSpec, ConditionTable
from tests_support import small_plan, sphere_case
from worker_support import NAME, Bench, write_model

TURNED = (0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
GRID = Geometry((20, 18, 16), (1.5, 0.9, 1.1), (-10.25, 20.5, 3.0), TURNED)
IMAGE = (sphere_case("ball", 3).image_CDHW, GRID)


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    write_model(bench.home)
    with bench.spool.held():
        yield bench


def test_a_mask_is_that_of_autoseg_predict_in_every_voxel(bench, tmp_path):
    job = bench.done(bench.ask(IMAGE))
    write_array(tmp_path / "case_0000.nii.gz", *IMAGE)
    assert predict.main(["-i", str(tmp_path / "case_0000.nii.gz"), "-o", str(tmp_path / "mask.nii.gz"), "-d", NAME,
                         "--home", str(bench.home), "--device", "cpu"]) == 0
    expected_DHW, geometry = read_label(tmp_path / "mask.nii.gz")
    label_DHW, own = read_label(bench.spool.job(job.id).result / "mask.nii.gz")
    np.testing.assert_array_equal(label_DHW, expected_DHW)
    assert len(np.unique(label_DHW)) > 1 and not own.difference(geometry)


def test_a_result_says_what_is_in_the_mask_and_what_it_rests_on(bench):
    job_id = bench.ask(IMAGE)
    result = bench.done(job_id).result
    folder = bench.spool.job(job_id)
    label_DHW, _ = read_label(folder.result / "mask.nii.gz")
    assert {label.name: label.voxels for label in result.labels} == {"sphere": (label_DHW == 1).sum(),
                                                                     "core": (label_DHW == 2).sum()}
    assert result.labels[0].volume_ml == pytest.approx((label_DHW == 1).sum() * 1.5 * 0.9 * 1.1 / 1000, abs=1e-4)
    assert result.files == ("nifti", "entropy", "disagreement", "stl", "obj") and result.images == ("MR_0",)
    assert (result.present, result.absent, result.shape) == (("MR_0",), (), (20, 18, 16))
    assert (folder.images / "0.nii.gz").samefile(folder.input / "0.nii.gz")
    assert bench.spool.result_of(job_id) == result and result.model_identity and result.seconds > 0
    assert bench.jobs.get(job_id).progress.fraction == 1.0


def test_uncertainty_is_left_out_where_nobody_asks_for_it(bench):
    assert bench.done(bench.ask(IMAGE, uncertainty=False)).result.files == ("nifti", "stl", "obj")


def test_a_model_stays_in_memory_until_it_is_trained_again(bench):
    worker = bench.worker()
    first = bench.done(bench.ask(IMAGE), worker)
    resident = worker._resident.predictor
    assert bench.done(bench.ask(IMAGE), worker).result.model_identity == first.result.model_identity
    assert worker._resident.predictor is resident
    write_model(bench.home, seed=1)
    again = bench.done(bench.ask(IMAGE), worker)
    assert again.result.model_identity != first.result.model_identity


@pytest.mark.parametrize(("channels", "told"), [
    ((), "the case has no image"), (("CT",), "no channel 'CT'")])
def test_images_that_are_no_channels_of_the_model_are_said(bench, channels, told):
    job = bench.done(bench.ask(*[IMAGE] * len(channels), channels=channels))
    assert job.state == "failed" and told in job.problem.what


def test_a_channel_that_the_model_needs_and_that_is_missing_is_named(bench):
    write_model(bench.home, channels=(ChannelSpec(name="CT", reference=True), ChannelSpec(name="PET", required=False)))
    job = bench.done(bench.ask(IMAGE, channels=("PET",)))
    assert job.state == "failed" and "'CT' is missing" in job.problem.what


def test_an_image_of_the_wrong_dimensions_is_said(bench):
    flat = (IMAGE[0][:, :1], Geometry((1, 18, 16), (999.0, 1.0, 1.0), dimensions=2))
    job = bench.done(bench.ask(flat))
    assert job.state == "failed" and "model" in job.problem.what and str(bench.root) not in job.problem.what


def test_a_damaged_image_fails_and_the_next_job_is_done(bench, tmp_path):
    worker, broken = bench.worker(), tmp_path / "broken.nii.gz"
    write_array(broken, *IMAGE)
    broken.write_bytes(broken.read_bytes()[:500])
    job = bench.done(bench.ask(broken), worker)
    assert job.state == "failed" and "0.nii.gz" in job.problem.what and str(tmp_path) not in job.problem.what
    assert bench.done(bench.ask(IMAGE), worker).state == "done"


def test_a_fault_of_the_program_fails_the_job_and_not_the_worker(bench, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError("division by zero")

    worker = bench.worker()
    monkeypatch.setattr("autoseg.serve.worker.run_job", broken)
    job = bench.done(bench.ask(IMAGE), worker)
    assert job.state == "failed" and job.problem.what == "the case could not be predicted"


def test_a_model_that_is_not_there_any_more_is_said(bench):
    job = bench.done(bench.ask(IMAGE, model="Dataset009_Gone"))
    assert job.state == "failed" and "there is no model 'Dataset009_Gone'" in job.problem.what


def test_a_cancelled_job_ends_without_a_result(bench):
    job_id = bench.ask(IMAGE)
    claimed = bench.jobs.claim("worker-0")
    assert bench.jobs.cancel(job_id).state == "running"
    bench.worker().do(claimed)
    assert bench.jobs.get(job_id).state == "cancelled"
    assert not bench.spool.job(job_id).result.exists()


def test_a_job_that_takes_too_long_ends_and_says_so(bench):
    job = bench.done(bench.ask(IMAGE), bench.worker(job_seconds=0.0))
    assert job.state == "failed" and "takes too long" in job.problem.what and "0 s" in job.problem.expected


def test_nothing_is_left_of_a_job_that_is_removed_while_it_is_written(bench, monkeypatch):
    from autoseg.serve import run_job

    def removed_meanwhile(*arguments, **others):
        bench.jobs.remove(job_id)
        bench.spool.remove(job_id)
        return write(*arguments, **others)

    write, job_id = run_job.write_outputs, bench.ask(IMAGE)
    monkeypatch.setattr(run_job, "write_outputs", removed_meanwhile)
    bench.worker().do(bench.jobs.claim("worker-0"))
    assert list(bench.spool.jobs.iterdir()) == []


def test_progress_runs_from_0_to_1_in_its_stages(bench, monkeypatch):
    notes = []
    monkeypatch.setattr("autoseg.workspace.jobs.store.JobStore.progress", lambda _, __, note: notes.append(note))
    bench.done(bench.ask(IMAGE))
    fractions = [note.fraction for note in notes]
    assert fractions == sorted(fractions) and fractions[0] == 0.0 and fractions[-1] == 0.9
    assert list(dict.fromkeys(note.stage for note in notes)) == ["loading", "reading", "predicting", "writing"]


def test_a_row_is_what_the_model_reads_in_a_table():
    specs = tuple(ConditionSpec(name=name, kind=kind) for name, kind in (("age", "number"), ("sex", "category")))
    plan = small_plan().model_copy(update={"conditions": ConditionTable(specs=specs),
                                           "modality_columns": {"MR_0": "Scanner"}})
    request = JobRequest(client="a", model="m", kind="images", files=(), modality="MR",
                         row={"age": "61 y", "sex": " f", "grade": "n/a", "height": None})
    assert conditions_of_row(request, plan) == {"age": 61.0, "sex": " f", "Scanner": "MR"}
    pain = ConditionSpec(name="pain", kind="ordinal", order=("none", "mild"))
    ranked = plan.model_copy(update={"conditions": ConditionTable(specs=(pain,)), "modality_columns": {}})
    assert conditions_of_row(request.model_copy(update={"row": {"pain": "none"}}), ranked) == {"pain": "none"}
    odd = request.model_copy(update={"row": {"age": "old"}})
    assert conditions_of_row(odd, plan)["age"] == "old"  # which the model refuses, with its name


def edges_of(triangles):
    """How often each directed edge is there."""
    return Counter(edge for a, b, c in triangles.tolist() for edge in ((a, b), (b, c), (c, a)))


@pytest.mark.parametrize("direction", [(1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0), TURNED, (-1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0)])
def test_a_surface_is_closed_outward_and_in_mm_also_at_the_border(direction):
    mask_DHW = np.zeros((6, 7, 8), bool)
    mask_DHW[:, 2:5, 3:6] = True
    geometry = Geometry((6, 7, 8), (2.0, 1.0, 1.5), (10.0, -20.0, 5.0), tuple(map(float, direction)))
    points_mm, triangles = surface_of(mask_DHW, geometry)
    edges = edges_of(triangles)
    assert all(n == 1 and edges[(b, a)] == 1 for (a, b), n in edges.items())
    corners = points_mm[triangles]
    volume = np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert volume == pytest.approx(6 * 3 * 3 * 3.0, rel=0.12)
    at = np.array([(3 + 5) / 2 * 1.5, (2 + 4) / 2 * 1.0, 2.5 * 2.0])  # x, y, z from the origin
    np.testing.assert_allclose((points_mm.min(0) + points_mm.max(0)) / 2,
                               np.array(direction).reshape(3, 3) @ at + geometry.origin_mm, atol=1e-6)


def test_a_part_of_a_mask_has_its_place_in_the_whole():
    mask_DHW = np.zeros((6, 7, 8), bool)
    mask_DHW[2:5, 2:5, 3:6] = True
    whole = surface_of(mask_DHW, GRID)
    np.testing.assert_allclose(surface_of(mask_DHW[2:5, 2:5, 3:6], GRID, (2, 2, 3))[0], whole[0])


def test_meshes_say_their_frame_and_hold_the_same_triangles(bench):
    folder = bench.spool.job(bench.done(bench.ask(IMAGE)).id).result
    stl = (folder / "0.stl").read_bytes()
    (n_triangles,) = struct.unpack("<I", stl[80:84])
    assert b"SPACE=LPS" in stl[:80] and not stl.startswith(b"solid") and len(stl) == 84 + 50 * n_triangles
    lines = (folder / "mesh.obj").read_text().splitlines()
    assert "SPACE=LPS" in lines[0] and [line for line in lines if line.startswith("g ")] == ["g sphere", "g core"]
    assert sum(line.startswith("f ") for line in (folder / "0.obj").read_text().splitlines()) == n_triangles
    with zipfile.ZipFile(io.BytesIO((folder / "stl.zip").read_bytes())) as archive:
        assert archive.namelist() == ["0_sphere.stl", "1_core.stl"] and archive.read("0_sphere.stl") == stl


def test_whole_numbers_are_shown_as_such_and_others_as_they_are():
    whole, broken = np.full((2, 2, 2), -1000.0, np.float32), np.full((2, 2, 2), 0.5, np.float32)
    assert small(whole).dtype == np.int16 and small(broken) is broken
    assert small(np.full((2, 2, 2), 1e6, np.float32)).dtype == np.float32


def test_the_log_has_the_lines_of_the_worker_and_none_of_libraries_of_dicom():
    code = ("import logging; from autoseg.serve.worker import log_as; log_as('worker-0')\n"
            "for name in ('highdicom.seg', 'pydicom', 'autoseg.serve.worker'): logging.getLogger(name).info(name)\n"
            "logging.getLogger('pydicom').warning('1.2.840.1')")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.split("\n") == ["INFO worker-0: autoseg.serve.worker", ""]
