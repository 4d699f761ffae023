"""One case in three planes: where they are cut, which way is up, and how wrong files are refused."""

import numpy as np
import pytest
from matplotlib.image import imread

from autoseg.cli import overlay as command
from autoseg.formats import write_array, write_label
from autoseg.grids.geometry import Geometry
from autoseg.reporting.contact_sheet import COLOURS
from autoseg.reporting.overlay import Shown, lighter, picture_of, planes_of, seen
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec

LABELS = LabelSpec(names={"background": (0,), "liver": (1,), "tumour": (2,)})
SHAPE = (12, 40, 50)


def shown(direction=None, shape=SHAPE, predicted=True, labelled=True, dimensions=3):
    truth = np.zeros(shape, np.int16)
    if labelled:
        truth[shape[0] // 2:, 10:20, 30:44] = 1
    image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    geometry = Geometry(shape, (4.0, 1.0, 1.0), direction=direction or Geometry(shape, (1.0,) * 3).direction,
                        dimensions=dimensions)
    return Shown(image, truth, np.roll(truth, 2, 2) if predicted else None, geometry, ChannelSpec(name="MR"), LABELS)


def has_colour(picture, colour, tolerance=20):
    target = [int(colour[i:i + 2], 16) for i in (1, 3, 5)]
    return (np.abs(picture[..., :3].astype(int) - target).max(-1) < tolerance).any()


def test_three_planes_run_through_the_truth():
    planes = planes_of(shown())
    assert [plane.name for plane in planes] == ["axial", "coronal", "sagittal"]
    assert [(plane.position, plane.n_slices) for plane in planes] == [(7, 12), (11, 40), (31, 50)]
    assert all((plane.truth_HW == 1).any() for plane in planes)


def test_the_head_is_up_and_the_front_is_up():
    case = shown()
    axial, coronal, _ = planes_of(case)
    assert np.array_equal(coronal.truth_HW[0], planes_of(case)[1].truth_HW[0])
    assert coronal.truth_HW[0].any()  # the label fills the upper slices, which come first
    assert not coronal.truth_HW[-1].any()
    assert axial.aspect == 1
    assert coronal.aspect == 4


def test_files_whose_axes_run_the_other_way_look_the_same():
    straight = shown()
    turned = Shown(*(np.ascontiguousarray(array[:, ::-1, ::-1]) for array in
                     (straight.image_DHW, straight.truth_DHW, straight.predicted_DHW)),
                   Geometry(SHAPE, (4.0, 1.0, 1.0), direction=(-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)),
                   straight.channel, LABELS)
    for plane, other in zip(planes_of(straight), planes_of(turned), strict=True):
        assert np.array_equal(plane.image_HW, other.image_HW) or plane.position != other.position
        assert plane.truth_HW.sum() == other.truth_HW.sum()
    assert np.array_equal(planes_of(straight)[0].truth_HW, planes_of(turned)[0].truth_HW)


def test_sagittal_slices_are_turned_into_the_same_planes():
    straight = shown()
    order = (2, 0, 1)  # x, z, y: the first axis of the array is the patient's left-right
    direction = np.eye(3)[:, [1, 2, 0]]  # the file's x is the patient's y, its y the patient's z, its z the patient's x
    turned = Shown(*(array.transpose(order) for array in (straight.image_DHW, straight.truth_DHW, straight.predicted_DHW)),
                   Geometry((50, 12, 40), (1.0, 4.0, 1.0), direction=tuple(direction.ravel())), straight.channel, LABELS)
    for plane, other in zip(planes_of(straight), planes_of(turned), strict=True):
        assert np.array_equal(plane.image_HW, other.image_HW)
        assert plane.aspect == other.aspect


def test_an_image_of_one_slice_has_one_plane():
    case = shown(shape=(1, 40, 50), dimensions=2)
    planes = planes_of(case)
    assert [plane.name for plane in planes] == ["image"]


def test_without_foreground_the_middle_of_everything_is_shown():
    planes = planes_of(shown(labelled=False))
    assert planes[0].image_HW.shape == SHAPE[1:]
    assert planes[0].position == SHAPE[0] // 2 + 1
    assert seen(planes, LABELS) == ()


def test_truth_and_prediction_are_drawn_and_pictures_are_bounded():
    planes = planes_of(shown())
    picture = picture_of(planes[0], LABELS)
    assert max(picture.shape[:2]) == 380
    assert has_colour(picture, COLOURS[0])
    assert has_colour(picture, lighter(COLOURS[0]))
    assert seen(planes, LABELS) == ("liver",)


@pytest.fixture
def files(tmp_path):
    case = shown()
    for name, array in (("label", case.truth_DHW), ("mask", case.predicted_DHW)):
        write_label(tmp_path / f"{name}.nii.gz", array, case.geometry)
    write_array(tmp_path / "case_0000.nii.gz", case.image_DHW[None], case.geometry)
    return tmp_path


def arguments(folder, *more):
    return ["-i", str(folder / "case_0000.nii.gz"), "-l", str(folder / "label.nii.gz"), "-o", str(folder / "out.png"), *more]


def test_the_command_draws_a_case(files, capsys):
    assert command.main(arguments(files, "-p", str(files / "mask.nii.gz"))) == 0
    picture = (255 * imread(files / "out.png")).round()
    assert has_colour(picture, COLOURS[0])
    assert picture.shape[1] > picture.shape[0]
    assert "out.png" in capsys.readouterr().out


def test_a_prediction_on_another_grid_is_refused(files, capsys):
    write_label(files / "other.nii.gz", np.zeros((3, 4, 5), np.int16), Geometry((3, 4, 5), (1.0, 1.0, 1.0)))
    assert command.main(arguments(files, "-p", str(files / "other.nii.gz"))) == 2
    assert "not on the label's grid" in capsys.readouterr().err


def test_an_image_on_another_grid_is_brought_to_the_label(files):
    coarse = np.ones((1, 12, 20, 25), np.float32)
    write_array(files / "case_0000.nii.gz", coarse, Geometry((12, 20, 25), (4.0, 2.0, 2.0)))
    assert command.main(arguments(files)) == 0


def test_undeclared_values_and_other_formats_are_refused(files, capsys):
    described = files / "dataset.json"
    described.write_text('{"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 5}, "numTraining": 1, '
                         '"file_ending": ".nii.gz"}')
    assert command.main(arguments(files, "--dataset_json", str(described))) == 2
    assert "not declared" in capsys.readouterr().err
    assert command.main([*arguments(files)[:-1], str(files / "out.jpg")]) == 2
    assert ".png" in capsys.readouterr().err
