import gzip
import json

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.formats import READERS, read_header, read_image, read_label, write_array, write_label
from autoseg.grids.geometry import Geometry

VOLUMES = (".nii", ".nii.gz", ".nrrd", ".mha", ".mhd")
FLAT = Geometry(shape=(1, 5, 6), spacing_mm=(999.0, 1.0, 1.0), dimensions=2)


def oblique() -> Geometry:
    """Rotated by 30 degrees about z, then by 20 about x."""
    a, b = np.deg2rad((30, 20))
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return Geometry(shape=(4, 5, 6), spacing_mm=(3.0, 0.75, 0.5), origin_mm=(-10.5, 20.25, 30.0),
                    direction=tuple((about_x @ about_z).ravel()))


def same_place(a: Geometry, b: Geometry) -> bool:
    """The same grid to a millionth of a millimetre, or what float32 in a header leaves of it."""
    return (a.shape == b.shape and a.dimensions == b.dimensions
            and np.allclose(a.spacing_mm, b.spacing_mm, rtol=1e-6) and np.allclose(a.origin_mm, b.origin_mm, atol=1e-5)
            and np.allclose(a.direction, b.direction, atol=1e-6))


@pytest.mark.parametrize("ending", VOLUMES)
def test_an_oblique_volume_comes_back_where_it_was(tmp_path, image_DHW, ending):
    path = tmp_path / f"case_0000{ending}"
    write_array(path, image_DHW[None], oblique())
    again_CDHW, geometry = read_image(path)
    assert again_CDHW.dtype == np.float32
    np.testing.assert_array_equal(again_CDHW[0], image_DHW)
    assert same_place(geometry, oblique())
    assert same_place(read_header(path).geometry, oblique())


@pytest.mark.parametrize("ending", [*VOLUMES, ".tif"])
@pytest.mark.parametrize(("highest", "stored"), [(255, np.uint8), (256, np.uint16)])
def test_a_label_is_written_as_small_as_it_fits(tmp_path, geometry, label_DHW, ending, highest, stored):
    label_DHW[1, 2, 3] = highest
    path = tmp_path / f"case{ending}"
    write_label(path, label_DHW, geometry)
    again_DHW, _ = read_label(path)
    assert again_DHW.dtype == np.int16
    np.testing.assert_array_equal(again_DHW, label_DHW)
    assert READERS.get(ending).read(path)[0].dtype == stored


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif", ".tiff"])
def test_a_2d_label_is_one_slice(tmp_path, ending):
    label_DHW = np.arange(30, dtype=np.int16).reshape(1, 5, 6)
    write_label(tmp_path / f"a{ending}", label_DHW, FLAT)
    again_DHW, geometry = read_label(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(again_DHW, label_DHW)
    assert geometry == FLAT


def test_a_16_bit_png_keeps_its_values(tmp_path):
    label_DHW = np.full((1, 5, 6), 300, dtype=np.int16)
    write_label(tmp_path / "a.png", label_DHW, FLAT)
    np.testing.assert_array_equal(read_label(tmp_path / "a.png")[0], label_DHW)


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tif"])
def test_colours_are_channels(tmp_path, ending):
    from PIL import Image

    colours_HWC = np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3)
    Image.fromarray(colours_HWC).save(tmp_path / f"a{ending}")
    image_CDHW, geometry = read_image(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(image_CDHW[:, 0], np.moveaxis(colours_HWC, -1, 0))
    assert geometry == FLAT
    assert read_header(tmp_path / f"a{ending}").n_channels == 3


def test_16_bit_colours_are_not_cut_to_8(tmp_path):
    import SimpleITK as sitk

    colours_HWC = (np.arange(5 * 6 * 3, dtype=np.uint16) * 700).reshape(5, 6, 3)
    sitk.WriteImage(sitk.GetImageFromArray(colours_HWC, isVector=True), str(tmp_path / "a.png"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png")[0][:, 0], np.moveaxis(colours_HWC, -1, 0))


@pytest.mark.parametrize(("palette", "n_channels"), [([0, 0, 0, 90, 90, 90], 1), ([0, 0, 0, 90, 0, 0], 3)])
def test_a_palette_of_greys_is_grey_and_another_is_colour(tmp_path, palette, n_channels):
    from PIL import Image

    image = Image.fromarray(np.eye(5, 6, dtype=np.uint8)).convert("P")
    image.putpalette(palette)
    image.putdata(np.eye(5, 6, dtype=np.uint8).ravel().tolist())
    image.save(tmp_path / "a.png")
    image_CDHW, _ = read_image(tmp_path / "a.png")
    assert len(image_CDHW) == read_header(tmp_path / "a.png").n_channels == n_channels
    np.testing.assert_array_equal(image_CDHW[0, 0], 90 * np.eye(5, 6))


def test_a_jpeg_is_read_and_refused_for_labels(tmp_path):
    from PIL import Image

    Image.fromarray(np.full((5, 6), 77, dtype=np.uint8)).save(tmp_path / "a.jpg")
    assert np.abs(read_image(tmp_path / "a.jpg")[0] - 77).max() <= 2
    with pytest.raises(UserError, match="would change label values"):
        write_label(tmp_path / "b.jpg", np.zeros((1, 5, 6), dtype=np.int16), FLAT)
    assert not (tmp_path / "b.jpg").exists()


def test_several_slices_do_not_fit_a_png(tmp_path, geometry, label_DHW):
    with pytest.raises(UserError, match="2D images only"):
        write_label(tmp_path / "a.png", label_DHW, geometry)


def test_fractions_do_not_fit_a_png(tmp_path):
    with pytest.raises(UserError, match="cannot hold these pixels"):
        write_array(tmp_path / "a.png", np.zeros((1, 1, 5, 6), dtype=np.float32), FLAT)


@pytest.mark.parametrize("photometric", ["minisblack", "rgb"])  # some writers take a few slices for colours
def test_a_tiff_stack_takes_its_spacing_from_the_file_beside_it(tmp_path, image_DHW, photometric):
    import tifffile

    tifffile.imwrite(tmp_path / "case_0000.tif", image_DHW, photometric=photometric)
    (tmp_path / "case.json").write_text('{"spacing": [3, 2, 1]}')
    image_CDHW, geometry = read_image(tmp_path / "case_0000.tif")
    np.testing.assert_array_equal(image_CDHW[0], image_DHW)
    assert geometry == Geometry(shape=(4, 5, 6), spacing_mm=(3.0, 2.0, 1.0))


def test_the_spacing_file_of_a_label_whose_name_ends_in_digits_is_its_own(tmp_path, label_DHW, geometry):
    write_label(tmp_path / "slab_0001.tif", label_DHW, geometry)
    assert json.loads((tmp_path / "slab_0001.json").read_text()) == {"spacing": [3.0, 2.0, 1.0]}
    assert read_header(tmp_path / "slab_0001.tif").geometry.spacing_mm == (3.0, 2.0, 1.0)


def test_a_tiff_stack_without_spacing_is_1_mm_with_a_warning(tmp_path, image_DHW):
    import tifffile

    tifffile.imwrite(tmp_path / "case_0000.tif", image_DHW, photometric="minisblack")
    header = read_header(tmp_path / "case_0000.tif")
    assert header.geometry.spacing_mm == (1.0, 1.0, 1.0)
    assert "(case.json) is taken as 1 x 1 x 1 mm" in header.warnings[0]


@pytest.mark.parametrize("spacing", ['{"spacing": [1, 2]}', '{"spacing": [1, 2, -3]}', '{"spacing": "3"}', "[1, 2, 3]"])
def test_a_wrong_spacing_file_is_an_error(tmp_path, image_DHW, spacing):
    import tifffile

    tifffile.imwrite(tmp_path / "case_0000.tif", image_DHW, photometric="minisblack")
    (tmp_path / "case.json").write_text(spacing)
    with pytest.raises(UserError, match=r"case\.json: the spacing is not three positive numbers"):
        read_image(tmp_path / "case_0000.tif")


def test_an_lzw_tiff_is_read(tmp_path):
    from PIL import Image

    pixels = np.arange(30, dtype=np.uint8).reshape(5, 6)
    Image.fromarray(pixels).save(tmp_path / "a.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[0][0, 0], pixels)


@pytest.mark.parametrize(("ending", "geometry"), [(".nrrd", oblique()), (".mha", oblique()), (".tif", FLAT),
                                                  (".tif", Geometry((4, 5, 6), (3.0, 2.0, 1.0)))])
def test_several_channels_come_back(tmp_path, ending, geometry):
    probabilities_CDHW = np.random.default_rng(0).random((5, *geometry.shape), dtype=np.float32)
    write_array(tmp_path / f"a{ending}", probabilities_CDHW, geometry)
    again_CDHW, again = read_image(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(again_CDHW, probabilities_CDHW)
    assert same_place(again, geometry)


def test_several_channels_of_a_nifti_are_its_fourth_axis(tmp_path):
    import nibabel

    probabilities_CDHW = np.random.default_rng(0).random((5, 4, 5, 6), dtype=np.float32)
    write_array(tmp_path / "a.nii.gz", probabilities_CDHW, oblique())
    np.testing.assert_array_equal(nibabel.load(tmp_path / "a.nii.gz").get_fdata(dtype=np.float32), probabilities_CDHW.T)


def test_a_2d_nifti_is_one_slice_and_is_written_as_2d(tmp_path):
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.arange(30, dtype=np.int16).reshape(5, 6))
    image.SetSpacing((0.5, 2.0))
    image.SetOrigin((3.0, 4.0))
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    image_CDHW, geometry = read_image(tmp_path / "a.nii.gz")
    assert image_CDHW.shape == (1, 1, 5, 6)
    assert geometry.spacing_mm == (999 * 2.0, 2.0, 0.5) and geometry.dimensions == 2
    write_label(tmp_path / "b.nii.gz", image_CDHW[0].astype(np.int16), geometry)
    again = sitk.ReadImage(str(tmp_path / "b.nii.gz"))
    assert (again.GetSize(), again.GetSpacing(), again.GetOrigin()) == ((6, 5), (0.5, 2.0), (3.0, 4.0))


def test_a_sheared_nifti_that_itk_refuses_comes_back_with_its_affine(tmp_path, image_DHW):
    import nibabel

    affine = np.array([[1, 0.2, 0, 5], [0, 2, 0, 6], [0, 0.1, 3, 7], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(image_DHW.T, affine), tmp_path / "a.nii.gz")
    image_CDHW, geometry = read_image(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(image_CDHW[0], image_DHW)
    assert geometry.spacing_mm == pytest.approx((3.0, np.sqrt(0.2**2 + 2**2 + 0.1**2), 1.0))
    write_label(tmp_path / "b.nii.gz", image_DHW.astype(np.int16), geometry)
    again = nibabel.load(tmp_path / "b.nii.gz")
    np.testing.assert_allclose(again.affine, affine, atol=1e-6)
    np.testing.assert_array_equal(again.get_fdata(), image_DHW.T)


def test_slope_and_intercept_are_applied(tmp_path, geometry):
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((6, 5, 4))
    header.set_slope_inter(2.0, -1024.0)
    stored = np.arange(120, dtype="<i2")
    (tmp_path / "a.nii").write_bytes(header.binaryblock + b"\0" * 4 + stored.tobytes())
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii")[0].ravel(), stored * 2.0 - 1024)


def test_a_big_endian_nifti_is_read(tmp_path, image_DHW):
    import nibabel

    image = nibabel.Nifti1Image(image_DHW.T.astype(">i2"), np.eye(4), nibabel.Nifti1Header(endianness=">"))
    nibabel.save(image, tmp_path / "a.nii")
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii")[0][0], image_DHW)


def test_a_nifti_2_is_read(tmp_path, image_DHW):
    import nibabel

    nibabel.save(nibabel.Nifti2Image(image_DHW.T, np.eye(4)), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii.gz")[0][0], image_DHW)


@pytest.mark.parametrize("ending", VOLUMES)
@pytest.mark.parametrize("kept", [0.01, 0.6, 0.99])
def test_a_truncated_volume_is_an_error(tmp_path, geometry, ending, kept):
    noise_DHW = np.random.default_rng(0).integers(0, 30_000, geometry.shape, dtype=np.int16)
    whole = tmp_path / f"a{ending}"
    write_array(whole, noise_DHW[None], geometry)
    data = whole.with_suffix(".zraw") if ending == ".mhd" else whole
    data.write_bytes(data.read_bytes()[:int(data.stat().st_size * kept)])
    with pytest.raises(UserError, match=r"a\.(nii|nrrd|mha|mhd)"):
        read_image(whole)


def test_a_gzip_with_a_flipped_bit_is_an_error(tmp_path, geometry):
    noise_DHW = np.random.default_rng(0).integers(0, 30_000, geometry.shape, dtype=np.int16)
    path = tmp_path / "a.nii.gz"
    write_array(path, noise_DHW[None], geometry)
    content = bytearray(gzip.decompress(path.read_bytes()))
    packed = bytearray(gzip.compress(bytes(content), compresslevel=0))
    packed[-40] ^= 1  # a stored voxel: only the checksum can tell
    path.write_bytes(packed)
    with pytest.raises(UserError, match=r"a\.nii\.gz: the file (is cut short or damaged|cannot be read)"):
        read_image(path)


@pytest.mark.parametrize("ending", READERS.names())
def test_an_empty_file_is_an_error(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    path.touch()
    for read in (read_header, read_image, read_label):
        with pytest.raises(UserError, match=r"the file is empty \(found: 0 bytes\)"):
            read(path)


@pytest.mark.parametrize("ending", READERS.names())
def test_a_file_of_another_content_is_an_error(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    path.write_bytes(b"this is not an image, whatever its name says. " * 20)
    with pytest.raises(UserError, match="cannot be read|cut short or damaged"):
        read_image(path)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif"])
def test_a_truncated_picture_is_an_error(tmp_path, ending):
    from PIL import Image

    path = tmp_path / f"a{ending}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 90), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match="cannot be read"):
        read_image(path)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_a_4d_volume_is_an_error(tmp_path, ending):
    import SimpleITK as sitk

    volumes = [sitk.GetImageFromArray(np.full((4, 5, 6), v, dtype=np.int16)) for v in (1, 2)]
    sitk.WriteImage(sitk.JoinSeries(volumes), str(tmp_path / f"a{ending}"))
    with pytest.raises(UserError, match=r"holds a 4D volume \(found: size \(x, y, ...\) \(6, 5, 4, 2\)"):
        read_header(tmp_path / f"a{ending}")


def test_a_4d_tiff_is_an_error(tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "a.tif", np.zeros((2, 4, 5, 6), dtype=np.float32), photometric="minisblack")
    with pytest.raises(UserError, match="holds a 4D volume"):
        read_header(tmp_path / "a.tif")


def test_a_fourth_axis_of_one_entry_is_left_out(tmp_path, image_DHW):
    import nibabel

    nibabel.save(nibabel.Nifti1Image(image_DHW.T[..., None], np.eye(4)), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii.gz")[0][0], image_DHW)


def test_a_float_label_of_whole_numbers_is_a_label(tmp_path, geometry, label_DHW):
    write_array(tmp_path / "a.nii.gz", label_DHW[None].astype(np.float32), geometry)
    np.testing.assert_array_equal(read_label(tmp_path / "a.nii.gz")[0], label_DHW)


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_a_label_with_fractions_is_an_error_that_says_where(tmp_path, geometry, label_DHW, value):
    soft_DHW = label_DHW.astype(np.float32)
    soft_DHW[1, 2, 3] = value
    write_array(tmp_path / "a.nii.gz", soft_DHW[None], geometry)
    with pytest.raises(UserError, match=r"not whole numbers .*at voxel \(z, y, x\) \(1, 2, 3\), 1 such voxels"):
        read_label(tmp_path / "a.nii.gz")


def test_a_label_beyond_16_bits_is_an_error(tmp_path, geometry):
    write_array(tmp_path / "a.nii.gz", np.full((1, *geometry.shape), 70_000, dtype=np.int32), geometry)
    with pytest.raises(UserError, match=r"do not fit \(found: 70000 to 70000; expected: 0 to 32767\)"):
        read_label(tmp_path / "a.nii.gz")


def test_a_coloured_label_is_an_error(tmp_path):
    from PIL import Image

    Image.fromarray(np.zeros((5, 6, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"several channels \(found: 3 channels; expected: one\)"):
        read_label(tmp_path / "a.png")


def test_a_missing_file_and_an_unknown_ending_are_users_errors(tmp_path):
    with pytest.raises(UserError, match="the file is missing"):
        read_image(tmp_path / "a.nii.gz")
    with pytest.raises(UserError, match=r"the format is not known .*\.nii\.gz"):
        read_image(tmp_path / "a.xyz")


def test_a_write_that_fails_leaves_nothing(tmp_path, geometry):
    with pytest.raises(UserError, match=r"\(C, 4, 5, 6\)"):
        write_array(tmp_path / "a.nii.gz", np.zeros((1, 2, 2, 2)), geometry)
    with pytest.raises(UserError, match="negative"):
        write_label(tmp_path / "a.nii.gz", np.full(geometry.shape, -1, dtype=np.int16), geometry)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["spleen_crop/seg.nii.gz", "breast_dce/mask.nii.gz", "spinal_cord/mt/mt0_seg.nii.gz",
                                  "spinal_cord/t2s/t2s_gmseg_manual.nii.gz", "totalseg_ct/example_seg_fast.nii.gz"])
def test_real_masks_come_back_identical(shared_data, tmp_path, name):
    import nibabel

    source = shared_data / "samples" / name
    label_DHW, geometry = read_label(source)
    write_label(tmp_path / "a.nii.gz", label_DHW, geometry)
    again_DHW, again = read_label(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(again_DHW, label_DHW)
    assert same_place(again, geometry)
    np.testing.assert_allclose(nibabel.load(tmp_path / "a.nii.gz").affine, nibabel.load(source).affine, atol=1e-6)


def test_voxels_are_those_that_itk_reads(shared_data):
    import SimpleITK as sitk

    for name in ("spleen_crop/ct", "breast_dce/dce_phase1", "spinal_cord/t2s/t2s", "totalseg_ct/example_ct_sm"):
        path = shared_data / "samples" / f"{name}.nii.gz"
        expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(np.float32)
        np.testing.assert_array_equal(read_image(path)[0][0], expected)
