"""Channels on grids of their own, read as one case on that of the reference."""

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.raw import find_cases, load_case
from autoseg.formats import read_image, write_array, write_label
from autoseg.grids.geometry import Geometry
from autoseg.grids.transform import Transform
from planners.schema.channels import ChannelSpec


def load(folder, number: int = 0):
    dataset = Dataset.open(folder)
    manifest = dataset.manifest
    return load_case(dataset.cases[number], manifest.channels, manifest.labels)


def shifted_channel(raw, image_DHW, **keys):
    """Two cases of two channels; of case0, the second lies one voxel (1 mm) further to the left: x from 1 to 6."""
    folder = raw(n_channels=2, **keys)
    write_array(folder / "imagesTr/case0_0001.nii.gz", image_DHW[None],
                Geometry((4, 5, 6), (3.0, 2.0, 1.0), (-6.0, 11.0, 30.0)))
    return folder


def test_a_channel_is_brought_to_the_reference_and_absent_outside(raw, image_DHW, label_DHW):
    case = load(shifted_channel(raw, image_DHW, reference_channel="MR0"))
    np.testing.assert_array_equal(case.image_CDHW[0], image_DHW)
    np.testing.assert_array_equal(case.image_CDHW[1, :, :, 1:], image_DHW[:, :, :5])
    assert not case.image_CDHW[1, :, :, 0].any()
    assert not case.absent_CDHW[0].any() and case.absent_CDHW[1, :, :, 0].all() and not case.absent_CDHW[1, :, :, 1:].any()
    assert case.present_C.all() and case.geometry.origin_mm == (-7.0, 11.0, 30.0)
    np.testing.assert_array_equal(case.label_DHW, label_DHW)


def test_a_reference_need_not_be_the_first_channel(raw, image_DHW, label_DHW):
    folder = shifted_channel(raw, image_DHW, reference_channel="MR1")
    with pytest.raises(UserError, match="the grid of the label differs from that of channel 1 'MR1'"):
        load(folder)
    write_label(folder / "labelsTr/case0.nii.gz", label_DHW, Geometry((4, 5, 6), (3.0, 2.0, 1.0), (-6.0, 11.0, 30.0)))
    case = load(folder)
    np.testing.assert_array_equal(case.image_CDHW[1], image_DHW)
    np.testing.assert_array_equal(case.image_CDHW[0, :, :, :5], image_DHW[:, :, 1:])
    assert case.absent_CDHW[0, :, :, 5].all() and case.geometry.origin_mm == (-6.0, 11.0, 30.0)


def test_nothing_is_absent_where_the_grids_are_the_same(raw, image_DHW):
    case = load(shifted_channel(raw, image_DHW, reference_channel="MR0"), 1)
    assert case.absent_CDHW is None
    np.testing.assert_array_equal(case.image_CDHW, [image_DHW + 1000, image_DHW + 1100])


def test_a_registered_channel_follows_its_transform(raw, image_DHW):
    folder = shifted_channel(raw, image_DHW, reference_channel="MR0", registration={"MR1": "rigid"})
    dataset = Dataset.open(folder)
    manifest = dataset.manifest
    files = dataset.cases[0]
    by = Transform(np.column_stack([np.eye(3), (1.0, 0.0, 0.0)]))
    case = load_case(files, manifest.channels, manifest.labels, {1: by})
    assert case.absent_CDHW is None
    np.testing.assert_allclose(case.image_CDHW[1], image_DHW, rtol=1e-6)


def test_a_missing_optional_channel_is_not_absent(raw, image_DHW):
    folder = shifted_channel(raw, image_DHW, reference_channel="MR0", optional_channels=["MR1"])
    (folder / "imagesTr/case0_0001.nii.gz").unlink()
    case = load(folder)
    assert case.present_C.tolist() == [True, False] and case.absent_CDHW is None and not case.image_CDHW[1].any()


def test_a_missing_reference_is_an_error_that_says_it_cannot_be_optional(raw, image_DHW):
    folder = shifted_channel(raw, image_DHW, reference_channel="MR0")
    (folder / "imagesTr/case0_0000.nii.gz").unlink()
    with pytest.raises(UserError, match=r"case case0: channel 0 'MR0' is missing, on whose grid .* cannot be optional"):
        load(folder)


def test_grids_that_differ_say_how_to_have_them_regridded(raw, image_DHW):
    with pytest.raises(UserError, match=r'name a "reference_channel" in dataset.json, .* give it the header .*or resample'):
        load(shifted_channel(raw, image_DHW))


def test_a_channel_that_is_not_to_be_regridded_says_so(raw, image_DHW):
    with pytest.raises(UserError, match=r"the grid of channel 1 'MR1' differs .* give it the registration \"regrid\""):
        load(shifted_channel(raw, image_DHW, reference_channel="MR0", registration={"MR1": "none"}))


def test_channels_that_do_not_overlap_are_an_error_with_both_files(raw, image_DHW):
    folder = shifted_channel(raw, image_DHW, reference_channel="MR0")
    far = Geometry((4, 5, 6), (3.0, 2.0, 1.0), (400.0, 11.0, 30.0))
    write_array(folder / "imagesTr/case0_0001.nii.gz", image_DHW[None], far)
    with pytest.raises(UserError) as raised:
        load(folder)
    for words in ("case0_0001.nii.gz", "case0_0000.nii.gz", "channel 1 'MR1'", "do not overlap", "x 400 to 406",
                  "x -8 to -2"):
        assert words in str(raised.value)


def test_a_flat_and_a_solid_channel_are_never_joined(tmp_path, geometry, image_DHW):
    write_array(tmp_path / "a_0000.nii.gz", image_DHW[None], geometry)
    write_array(tmp_path / "a_0001.nii.gz", image_DHW[None, :1], Geometry((1, 5, 6), (999.0, 2.0, 1.0), dimensions=2))
    channels = (ChannelSpec(name="CT", reference=True), ChannelSpec(name="MR", registration="regrid"))
    (files,) = find_cases(tmp_path, channels, ".nii.gz")
    with pytest.raises(UserError, match=r"channel 1 'MR' and channel 0 'CT' .* \(found: 2D; expected: 3D\)"):
        load_case(files, channels)


def test_a_file_of_several_channels_is_brought_as_one(tmp_path, geometry, image_DHW):
    write_array(tmp_path / "a_0000.mha", image_DHW[None], geometry)
    both = np.stack([image_DHW, -image_DHW])
    write_array(tmp_path / "a_0001.mha", both, Geometry(geometry.shape, geometry.spacing_mm, (-6.0, 11.0, 30.0)))
    channels = (ChannelSpec(name="CT", reference=True), ChannelSpec(name="A", registration="regrid"),
                ChannelSpec(name="B", registration="regrid"))
    (files,) = find_cases(tmp_path, channels, ".mha")
    case = load_case(files, channels)
    np.testing.assert_array_equal(case.image_CDHW[1:, :, :, 1:], both[..., :5])
    assert case.present_C.all() and case.absent_CDHW.any(axis=(1, 2, 3)).tolist() == [False, True, True]


def test_ct_pet_and_mr_of_a_patient_meet_on_the_grid_of_the_ct(sarcomas):
    folder = sarcomas("STS_008", "STS_040")
    for number, least in ((0, 0.1), (1, 0.4)):
        files = Dataset.open(folder).cases[number]
        case = load(folder, number)
        raw_CT, _ = read_image(files.images[0])
        np.testing.assert_array_equal(case.image_CDHW[0], raw_CT[0])
        covered_C = 1 - case.absent_CDHW.mean(axis=(1, 2, 3))
        assert covered_C[0] == 1 and covered_C[1] > 0.9 and least < covered_C[2] < 0.7
        assert not case.image_CDHW[case.absent_CDHW].any()
        tumour_DHW = case.label_DHW > 0
        assert not case.absent_CDHW[:, tumour_DHW].any()
        peak = read_image(files.images[1])[0].max()
        assert 0.8 * peak < case.image_CDHW[1].max() <= peak
        assert case.image_CDHW[1][tumour_DHW].mean() > 2 * case.image_CDHW[1][~case.absent_CDHW[1]].mean()
