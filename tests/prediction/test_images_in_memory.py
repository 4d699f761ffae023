"""Images that a caller has in memory are segmented as files are, and come back as what they were."""

import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import torch

import autoseg
from autoseg.base.errors import UserError
from autoseg.datasets.case import Case
from autoseg.formats import read_label, write_array
from autoseg.grids.geometry import Geometry
from autoseg.nn.model import build_model
from autoseg.prediction.in_memory import case_of_images, conditions_of
from autoseg.prediction.predictor import Predictor
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import write_json
from autoseg.workspace.folders import ModelFolder
from planners.schema.channels import ChannelSpec
from planners.schema.conditions import ConditionSpec, ConditionTable
from predict_phantoms import CASE, member_of, predictor_of
from tests_support import small_plan, sphere_case

TURNED = (0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0)  # x of the file runs to -y of the patient
GRID = Geometry((20, 18, 16), (1.5, 0.9, 1.1), (-10.25, 20.5, 3.0), TURNED)
IMAGE_DHW = CASE.image_CDHW[0]
VOLUME = autoseg.Volume(IMAGE_DHW, GRID.spacing_mm, GRID.origin_mm, GRID.direction)
TWO = tuple(ChannelSpec(name=name, required=name == "CT") for name in ("CT", "MR_T2"))


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return predictor_of()


@pytest.fixture(scope="module")
def expected(predictor) -> np.ndarray:
    """What the arrays of a case give; all three labels are in it."""
    label = predictor.predict(replace(CASE, geometry=GRID)).label_DHW
    assert len(np.unique(label)) > 1
    return label


@pytest.fixture
def model_folder(tmp_path):
    """A trained model that has learned nothing, in a folder."""
    plan, folder = small_plan(mirror_axes=()), ModelFolder(tmp_path / "Dataset001_Spheres" / "budgeted" / "3d_fullres")
    write_json(folder.plan, plan)
    torch.manual_seed(0)
    save_weights(folder.fold(0).checkpoint, build_model(plan, plan.configurations["3d_fullres"]).state_dict(), {})
    write_json(folder.fold(0).result, {"mean_dice": 0.5})
    return folder.path


def nifti(array_DHW, grid=GRID):
    """An image of nibabel on this grid, whose affine is computed here from spacing, origin and directions."""
    columns = np.diag((-1, -1, 1)) @ np.array(grid.direction).reshape(3, 3) * grid.spacing_mm[::-1]
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = columns, np.array((-1, -1, 1)) * grid.origin_mm
    return nibabel.Nifti1Image(array_DHW.T, affine)


def itk(array_DHW, grid=GRID):
    image = sitk.GetImageFromArray(array_DHW)
    image.SetSpacing(grid.spacing_mm[::-1])
    image.SetOrigin(grid.origin_mm)
    image.SetDirection(grid.direction)
    return image


def test_a_numpy_image_comes_back_as_numpy_with_its_grid(predictor, expected):
    label = predictor.predict(VOLUME).label
    assert isinstance(label, autoseg.Volume) and label.array.dtype == np.uint8
    assert (label.array == expected).all() and label.geometry == VOLUME.geometry == GRID


def test_a_simpleitk_image_comes_back_as_one_at_the_same_place(predictor, expected):
    image = itk(IMAGE_DHW)
    label = predictor.predict(image).label
    assert isinstance(label, sitk.Image) and (sitk.GetArrayFromImage(label) == expected).all()
    assert (label.GetSpacing(), label.GetOrigin(), label.GetDirection()) == (
        image.GetSpacing(), image.GetOrigin(), image.GetDirection())


def test_a_nibabel_image_comes_back_with_the_same_affine_and_codes(predictor, expected):
    image = nifti(IMAGE_DHW)
    image.header.set_qform(image.affine, 1)
    label = predictor.predict(image).label
    assert isinstance(label, nibabel.Nifti1Image) and np.array_equal(np.asarray(label.dataobj).T, expected)
    assert (label.affine == image.affine).all() and label.get_data_dtype() == np.uint8
    assert (label.header["qform_code"], label.header["sform_code"]) == (1, image.header["sform_code"])


def test_a_file_gives_what_its_image_gives_in_memory(predictor, expected, tmp_path):
    path = tmp_path / "case_0000.nii.gz"
    write_array(path, CASE.image_CDHW, GRID)
    segmentation = predictor.predict(path)
    in_memory = predictor.predict(nibabel.load(path)).label
    assert np.array_equal(segmentation.label.array, expected)
    assert np.array_equal(np.asarray(in_memory.dataobj).T, expected)
    segmentation.save(tmp_path / "mask.nrrd")
    label_DHW, grid = read_label(tmp_path / "mask.nrrd")
    assert (label_DHW == expected).all() and grid.is_at(GRID)


def test_scaled_integers_of_nibabel_are_read_as_the_numbers_they_mean(predictor):
    stored = np.round(IMAGE_DHW * 100).astype(np.int16)
    image = nifti(stored)
    image.header.set_slope_inter(0.01, 5)
    image = nibabel.Nifti1Image.from_bytes(image.to_bytes())  # in memory the slope is the file's
    plain = autoseg.Volume(np.asanyarray(image.dataobj).T, GRID.spacing_mm, GRID.origin_mm, GRID.direction)
    label = predictor.predict(image).label
    assert (predictor.predict(plain).label.array == np.asarray(label.dataobj).T).all()


def test_probabilities_and_uncertainty_are_images_of_the_same_kind(predictor, expected):
    found = predictor.predict(itk(IMAGE_DHW), probabilities=True, uncertainty=True)
    assert found.probabilities.GetNumberOfComponentsPerPixel() == 3 and found.entropy.GetSize() == (16, 18, 20)
    assert found.disagreement.GetOrigin() == GRID.origin_mm
    probabilities = sitk.GetArrayFromImage(found.probabilities)  # (z, y, x, K)
    assert (probabilities.argmax(-1) == expected).mean() > 0.99
    again = predictor.predict(nifti(IMAGE_DHW), probabilities=True).probabilities
    np.testing.assert_allclose(np.asarray(again.dataobj).transpose(2, 1, 0, 3), probabilities, atol=1e-6)
    assert predictor.predict(VOLUME, probabilities=True).probabilities.array.shape == (3, 20, 18, 16)


def test_a_flat_image_is_segmented_in_two_dimensions():
    member = member_of()
    plan = small_plan(2, mirror_axes=())
    torch.manual_seed(0)
    flat = type(member)(plan, "2d", [replace(member.models[0], model=build_model(plan, plan.configurations["2d"]).eval())],
                        member.runtime)
    image_HW = sphere_case("flat", 1).image_CDHW[0, 10]
    label = Predictor([flat]).predict(autoseg.Volume(image_HW, (0.8, 0.8))).label
    assert label.array.shape == image_HW.shape and label.spacing_mm == (0.8, 0.8)
    again = Predictor([flat]).predict(sitk.GetImageFromArray(image_HW)).label
    assert again.GetSize() == image_HW.shape[::-1]


def test_channels_have_names_an_order_and_may_be_missing():
    plan = small_plan(n_channels=2).model_copy(update={"channels": TWO, "intensities": ()})
    other = replace(VOLUME, array=VOLUME.array + 1)
    named, _ = case_of_images({"MR_T2": other, "CT": VOLUME}, plan, "a", CASE.conditions)
    listed, _ = case_of_images([VOLUME, other], plan, "a", CASE.conditions)
    together = autoseg.Volume(np.stack([VOLUME.array, other.array]), VOLUME.spacing_mm, VOLUME.origin_mm, VOLUME.direction)
    stacked, _ = case_of_images(together, plan, "a", CASE.conditions)
    assert (named.image_CDHW == listed.image_CDHW).all() and (named.image_CDHW == stacked.image_CDHW).all()
    np.testing.assert_allclose(named.image_CDHW[1] - named.image_CDHW[0], 1, atol=1e-5)
    lacking, _ = case_of_images([VOLUME, None], plan, "a", CASE.conditions)
    assert lacking.present_C.tolist() == [True, False] and not lacking.image_CDHW[1].any()


def test_channels_on_grids_of_their_own_are_brought_to_the_reference():
    channels = (TWO[0].model_copy(update={"reference": True}), TWO[1].model_copy(update={"registration": "regrid"}))
    plan = small_plan(n_channels=2).model_copy(update={"channels": channels, "intensities": ()})
    ramp = np.broadcast_to(np.arange(16.0), (20, 18, 16)).copy()
    shifted = replace(VOLUME, array=ramp, origin_mm=(GRID.origin_mm[0], GRID.origin_mm[1] + 2 * 1.1, GRID.origin_mm[2]))
    case, _ = case_of_images([VOLUME, shifted], plan, "a", CASE.conditions)  # it begins two voxels before, along x
    np.testing.assert_allclose(case.image_CDHW[1, 5, 5, :14], np.arange(2.0, 16.0), atol=1e-4)
    assert case.absent_CDHW[1, :, :, 14:].all() and not case.absent_CDHW[1, :, :, :14].any()
    assert not case.absent_CDHW[0].any()
    with pytest.raises(UserError, match="the grid differs from that of the first channel.*resample"):
        case_of_images([VOLUME, shifted], plan.model_copy(update={"channels": TWO}), "a", CASE.conditions)


BAD = {
    "a bare array": (IMAGE_DHW, r"no image with a grid .*found: ndarray.*Volume\(array, spacing_mm=\(z, y, x\)\)"),
    "a tensor": (torch.zeros(3, 3, 3), "no image with a grid"),
    "a word that is no file": ("no such image.nii.gz", "no such image.nii.gz"),
    "NaN": (replace(VOLUME, array=np.where(IMAGE_DHW > 2, np.nan, IMAGE_DHW)), "holds NaN or infinity"),
    "a mask": (replace(VOLUME, array=CASE.label_DHW), "nothing but values of labels.*found: 0, 1, 2"),
    "true and false": (replace(VOLUME, array=IMAGE_DHW > 1), "no grey values.*dtype bool"),
    "all alike": (replace(VOLUME, array=np.full_like(IMAGE_DHW, 7)), "all voxels of the image are alike.*7"),
    "metres": (replace(VOLUME, spacing_mm=(0.0015, 0.0009, 0.0011)), "another unit than millimetres"),
    "axes the other way": (autoseg.Volume(np.random.default_rng(0).normal(size=(96, 96, 10)), (8.0, 1.0, 1.0)),
                           "opposite order.*768 x 96 x 10 mm.*is_zyx=True"),
    "too many channels": (replace(VOLUME, array=np.stack([IMAGE_DHW] * 2)),
                          r"number of channels.*found: 2; expected: 1: MR_0"),
    "another channel": ({"MR_1": VOLUME}, r"no channel 'MR_1' \(found: MR_1; expected: MR_0"),
    "no image": ({"MR_0": None}, "the case has no image"),
    "a fourth axis": (sitk.Image([4, 4, 4, 2], sitk.sitkFloat32), "the image has 4 axes"),
    "colours": (sitk.Image([4, 4, 4], sitk.sitkVectorFloat32, 3), "number of channels is wrong"),
    "a slice": (autoseg.Volume(IMAGE_DHW[0], (0.9, 1.1)), "the image is flat, and the model takes volumes"),
    "numbers too large": (replace(VOLUME, array=IMAGE_DHW.astype(float) * 1e300), "numbers that are too large"),
    "labels of ITK": (sitk.Image([4, 4, 4], sitk.sitkLabelUInt8), "holds labels, not grey values"),
    "a list too long": ([VOLUME, VOLUME], "not one image per channel"),
}


@pytest.mark.parametrize("image, sentence", BAD.values(), ids=BAD)
def test_a_wrong_image_is_an_error_that_says_what_was_expected(predictor, image, sentence):
    with pytest.raises(UserError, match=sentence):
        predictor.predict(image, name="patient 7")


def test_an_axis_order_that_the_caller_is_sure_of_is_taken(predictor):
    long = autoseg.Volume(np.random.default_rng(0).normal(size=(96, 96, 10)), (8.0, 1.0, 1.0), is_zyx=True)
    assert predictor.predict(long).label.array.shape == (96, 96, 10)


@pytest.mark.parametrize("arguments, sentence", [
    (([[1.0]], (1, 1)), "no NumPy array.*list"), ((np.array([[None]]), (1, 1)), "no numbers.*object"),
    ((IMAGE_DHW[None], (1, 1)), "Volume do not fit.*one spacing per axis"), ((IMAGE_DHW, (1, 0, 1)), "not positive"),
    ((IMAGE_DHW, 1.0), "spacing_mm of a Volume is not understood"), ((IMAGE_DHW, (1, 1, np.nan)), "not understood"),
    ((np.zeros((3, 0, 3)), (1, 1, 1)), "none of them empty"),
    ((IMAGE_DHW, (1, 1, 1), (0, 0, 0), np.diag((2.0, 1, 1))), "does not hold three axes"),
    ((IMAGE_DHW, (1, 1, 1), (0, 0, 0), (1.0, 0)), "direction of a Volume is not understood"),
    ((IMAGE_DHW, (1, 1, 1), (0, 0, 0), ((1.0,), (0, 1))), "direction of a Volume is not understood"),
    ((IMAGE_DHW, (1, 1, 1), (0, 0, 0), (1.0, 0, 0, 1)), "direction of a Volume is not understood"),
    ((np.ma.masked_greater(IMAGE_DHW, 2), (1, 1, 1)), r"is masked.*array.filled\(value\)")])
def test_a_volume_that_cannot_be_one_is_refused_where_it_is_made(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        autoseg.Volume(*arguments)


@pytest.mark.parametrize("name, low, high, sentence", [("CT", 0, 1, "give Hounsfield units"),
                                                       ("PET", 0, 60000, "give SUV, not activity")])
def test_grey_values_in_another_unit_are_refused(name, low, high, sentence):
    stats = small_plan().intensities[0].model_copy(update={"percentile_00_5": -100, "percentile_99_5": 300, "max": 400})
    stats = stats if name == "CT" else stats.model_copy(update={"percentile_00_5": 0, "percentile_99_5": 9, "max": 12})
    plan = small_plan().model_copy(update={"channels": (ChannelSpec(name=name),), "intensities": (stats,)})
    image = np.random.default_rng(0).uniform(low, high, (20, 18, 16))
    with pytest.raises(UserError, match=sentence):
        case_of_images(replace(VOLUME, array=image), plan, "a", CASE.conditions)


def test_what_is_known_of_a_patient_is_given_by_name():
    table = ConditionTable(table="t.csv", specs=(
        ConditionSpec(name="age", kind="number"), ConditionSpec(name="psa", kind="number", transform="log"),
        ConditionSpec(name="sex", kind="category"), ConditionSpec(name="stage", kind="ordinal", order=("I", "II")),
        ConditionSpec(name="genes", kind="vector", width=3, folder="genes")))
    plan = small_plan().model_copy(update={"conditions": table})
    known = conditions_of({"age": 61, "sex": " f", "stage": "II", "genes": [1, 2, 3]}, plan, True)
    assert known.values == {"age": 61.0, "psa": None, "sex": "f", "stage": "II"}
    assert known.vectors["genes"].dtype == np.float32
    unknown = conditions_of({"age": None, "sex": float("nan"), "stage": "unknown"}, plan, True)
    assert unknown.values == {"age": None, "psa": None, "sex": None, "stage": None}
    for given, sentence in (({"agee": 1}, "no condition 'agee', did you mean 'age'"), ({"age": "old"}, "is no number"),
                            ({"psa": 0}, "a number above 0"), ({"stage": "IV"}, "expected: I, II"),
                            ({"genes": [1, 2]}, r"shape \(3,\)")):
        with pytest.raises(UserError, match=sentence):
            conditions_of(given, plan, True)
    with pytest.raises(UserError, match="none: images alone"):
        conditions_of({"age": 61}, plan, False)


def test_progress_counts_to_a_total_that_stays_and_every_stage_counts():
    seen: list[tuple[int, int]] = []
    predictor_of(0, 3).predict(VOLUME, uncertainty=True, progress=lambda done, total: seen.append((done, total)))
    done = [step for step, _ in seen]
    assert {total for _, total in seen} == {300} and done == sorted(done) and done[0] == 0 and done[-1] == 300
    assert 100 in done and 200 in done


def test_a_prediction_can_be_cancelled_and_the_next_one_is_right(predictor, expected):
    event = threading.Event()
    with pytest.raises(autoseg.Cancelled):
        predictor.predict(VOLUME, progress=lambda done, total: event.set() if done else None, cancel=event)
    with pytest.raises(autoseg.Cancelled):
        predictor.predict(VOLUME, cancel=lambda: True)
    assert (predictor.predict(VOLUME, cancel=lambda: False).label.array == expected).all()


def test_a_case_that_waits_for_its_turn_can_be_cancelled(predictor):
    event = threading.Event()
    with predictor._turn, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(predictor.predict, VOLUME, cancel=event)
        event.set()
        with pytest.raises(autoseg.Cancelled):
            waiting.result(60)


def test_several_threads_share_a_predictor_and_each_has_its_own_result(predictor):
    images = [replace(VOLUME, array=sphere_case("a", seed).image_CDHW[0]) for seed in range(4)]
    one_by_one = [predictor.predict(image).label.array for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda image: predictor.predict(image).label.array, images * 2))
    assert all((a == b).all() for a, b in zip(together, one_by_one * 2, strict=True))
    assert any((one_by_one[0] != other).any() for other in one_by_one[1:])


def test_another_process_opens_the_models_again(model_folder):
    predictor = Predictor.open(model_folder, device="cpu", mirroring=False)
    again = pickle.loads(pickle.dumps(predictor))
    assert again.identity == predictor.identity and again.members[0].mirroring is False
    assert (again.predict(VOLUME).label.array == predictor.predict(VOLUME).label.array).all()
    assert "MR_0 -> sphere, core" in repr(again)
    sent = pickle.dumps(predictor)
    save_weights(ModelFolder(model_folder).fold(0).checkpoint, predictor.models[0].model.state_dict(), {"seed": 9})
    with pytest.raises(UserError, match="the models were changed"):
        pickle.loads(sent)


def test_a_predictor_that_was_made_in_memory_says_that_it_cannot_be_sent(predictor):
    with pytest.raises(UserError, match="cannot be sent to another process.*Predictor.open"):
        pickle.dumps(predictor)


def test_a_case_is_predicted_as_before(predictor):
    prediction = predictor.predict(CASE, True)
    assert isinstance(CASE, Case) and prediction.label_DHW.shape == CASE.geometry.shape
    assert prediction.probabilities_KDHW is not None


def test_numpy_images_need_neither_simpleitk_nor_nibabel():
    code = ("import sys; import autoseg.formats.volume, autoseg.formats.in_memory, autoseg.prediction.predictor; "
            "print({'SimpleITK', 'nibabel', 'pydicom'} & set(sys.modules))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.parametrize("array", [IMAGE_DHW.astype(">f4"), np.asfortranarray(IMAGE_DHW), IMAGE_DHW[::-1].copy()[::-1],
                                   IMAGE_DHW.astype(np.float64), np.frombuffer(IMAGE_DHW.tobytes(), np.float32).reshape(
                                       IMAGE_DHW.shape)], ids=["bytes swapped", "columns", "steps", "double", "read-only"])
def test_how_an_array_lies_in_memory_does_not_change_its_mask(predictor, expected, array):
    np.testing.assert_array_equal(predictor.predict(replace(VOLUME, array=array)).label.array, expected)


def test_a_file_that_was_cut_after_nibabel_opened_it_is_named(predictor, tmp_path):
    nibabel.save(nifti(IMAGE_DHW), tmp_path / "x.nii.gz")
    image = nibabel.load(tmp_path / "x.nii.gz")
    content = (tmp_path / "x.nii.gz").read_bytes()
    (tmp_path / "x.nii.gz").write_bytes(content[:len(content) // 2])
    with pytest.raises(UserError, match="x.nii.gz: the file .*cut short"):
        predictor.predict(image)


@pytest.mark.parametrize("words, sentence", [({"cancel": True}, "cancel is neither an event nor a function"),
                                             ({"progress": 3}, "progress is no function")])
def test_progress_and_cancel_that_cannot_be_called_are_refused(predictor, words, sentence):
    with pytest.raises(UserError, match=sentence):
        predictor.predict(VOLUME, **words)
