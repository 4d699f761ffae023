"""Pictures of every kind read as viewers show them, whatever their compression; what cannot be right is refused."""

import gzip
import itertools
import struct

import numpy as np
import PIL.Image
import pytest
import tifffile

from autoseg.base.errors import TooLarge, UserError
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.raw import load_case
from autoseg.formats import door, read_header, read_image, read_label, write_label
from autoseg.grids.geometry import Geometry
from planners.schema.channels import ChannelSpec

GREY = np.random.default_rng(0).integers(0, 256, (40, 52), dtype=np.uint8)
MASK = (GREY > 200).astype(np.uint8)
COLOURS = np.dstack([GREY, 255 - GREY, GREY // 2])
COMPRESSIONS = (None, "tiff_lzw", "tiff_adobe_deflate", "packbits")


def shown(path) -> np.ndarray:
    """As Pillow shows a picture: (C, 1, y, x)."""
    with PIL.Image.open(path) as image:
        image = image.convert("RGB") if image.mode in ("CMYK", "P", "YCbCr") else image
        pixels = np.asarray(image).astype(np.float32)
    return (np.moveaxis(pixels, -1, 0) if pixels.ndim == 3 else pixels[None])[:, None]


@pytest.mark.parametrize(("mode", "compression"), list(itertools.product(
    ("1", "L", "RGB", "RGBA", "CMYK", "P", "YCbCr"), COMPRESSIONS)))
def test_a_tiff_is_read_as_pillow_shows_it_whatever_its_compression(tmp_path, mode, compression):
    path = tmp_path / "a.tif"
    image = PIL.Image.fromarray(COLOURS)
    (image.quantize(16) if mode == "P" else image.convert(mode)).save(path, compression=compression)
    image_CDHW, _ = read_image(path)
    np.testing.assert_array_equal(image_CDHW, shown(path))
    assert read_header(path).n_channels == len(image_CDHW)


@pytest.mark.parametrize("compression", ["group3", "group4", "packbits", None])
@pytest.mark.parametrize("white", [0, 1])
def test_a_mask_of_one_bit_is_its_foreground_whichever_value_is_white(tmp_path, compression, white):
    PIL.Image.fromarray(MASK * 255).convert("1").save(tmp_path / "a.tif", compression=compression, tiffinfo={262: white})
    with PIL.Image.open(tmp_path / "a.tif") as image:
        expected = np.asarray(image)
    np.testing.assert_array_equal(read_label(tmp_path / "a.tif")[0][0], expected)


def test_white_as_zero_is_turned_round_and_refused_where_programs_differ(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", 255 - GREY, photometric="miniswhite", compression="zlib")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[0][0, 0], GREY)
    tifffile.imwrite(tmp_path / "b.tif", GREY.astype(np.uint16), photometric="miniswhite")
    with pytest.raises(UserError, match=r"b\.tif: the colours are of a kind that programs show differently"):
        read_image(tmp_path / "b.tif")


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.int32, np.float32])
def test_what_tifffile_cannot_unpack_keeps_its_values_in_either_byte_order(tmp_path, monkeypatch, dtype, big):
    array = (GREY.astype(np.float64) * 100 - (9000 if dtype is not np.uint16 else 0)).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", array, compression="zlib", byteorder=">" if big else "<")
    monkeypatch.setattr("autoseg.formats.tiff._plain", lambda series: None)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif")[0][0, 0], array)


def test_a_page_of_another_size_is_not_dropped_but_refused(tmp_path):
    pages = [PIL.Image.fromarray(GREY), PIL.Image.fromarray(GREY), PIL.Image.fromarray(GREY[:20])]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(UserError, match="the pages of the file differ .*3 pages"):
        read_header(tmp_path / "a.tif")


def test_a_turned_picture_and_pages_in_a_circle_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", GREY, extratags=[(274, 3, 1, 6, True)])
    with pytest.raises(UserError, match="turned or mirrored"):
        read_header(tmp_path / "a.tif")
    PIL.Image.fromarray(GREY).save(tmp_path / "b.tif")
    content = bytearray((tmp_path / "b.tif").read_bytes())
    first, = struct.unpack_from("<I", content, 4)
    n_tags, = struct.unpack_from("<H", content, first)
    struct.pack_into("<I", content, first + 2 + 12 * n_tags, first)
    (tmp_path / "b.tif").write_bytes(content)
    with pytest.raises(UserError, match="pages that follow each other in a circle"):
        read_header(tmp_path / "b.tif")


@pytest.mark.parametrize("width", [150, 160])
@pytest.mark.parametrize("ending", [".png", ".jpg", ".bmp"])
def test_a_picture_whose_size_holds_16_is_read_by_the_same_decoder(tmp_path, ending, width):
    PIL.Image.fromarray(np.resize(COLOURS, (116, width, 3))).save(tmp_path / f"a{ending}")
    np.testing.assert_array_equal(read_image(tmp_path / f"a{ending}")[0], shown(tmp_path / f"a{ending}"))


@pytest.mark.parametrize("error", [ZeroDivisionError("by zero"), RecursionError("deep"), KeyError("x"),
                                   struct.error("short"), AssertionError(), MemoryError()])
def test_whatever_a_library_raises_is_a_sentence_with_the_file(tmp_path, monkeypatch, error):
    def fail(*arguments):
        raise error

    PIL.Image.fromarray(GREY).save(tmp_path / "a.png")
    monkeypatch.setattr("PIL.Image.open", fail)
    with pytest.raises(UserError, match=r"a\.png: (the file cannot be read|it takes more memory than there is)"):
        read_image(tmp_path / "a.png")


def test_a_small_file_that_claims_a_large_grid_is_refused_before_memory_is_taken(tmp_path):
    header = bytearray(352)
    struct.pack_into("<i8h", header, 0, 348, *(0,) * 8)
    struct.pack_into("<8h", header, 40, 3, 32767, 32767, 32767, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, *[1.0] * 8)
    struct.pack_into("<f", header, 108, 352.0)
    struct.pack_into("<hh", header, 252, 1, 1)
    struct.pack_into("<12f", header, 280, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
    header[344:348] = b"n+1\0"
    (tmp_path / "a_0000.nii.gz").write_bytes(gzip.compress(bytes(header) + bytes(1700)))
    with pytest.raises(UserError, match=r"a_0000\.nii\.gz: the file is cut short or damaged"):
        load_case(CaseFiles("a", (tmp_path / "a_0000.nii.gz",)), (ChannelSpec(name="CT"),))


def test_a_case_that_takes_more_memory_than_is_free_is_refused_by_its_name(tmp_path, monkeypatch):
    write_label(tmp_path / "a_0000.nii.gz", np.zeros((30, 800, 800), np.int16), Geometry((30, 800, 800), (1.0, 1.0, 1.0)))
    monkeypatch.setattr(door, "free_host_bytes", lambda: 1000)
    with pytest.raises(TooLarge, match="case a: it takes more memory than there is"):
        load_case(CaseFiles("a", (tmp_path / "a_0000.nii.gz",)), (ChannelSpec(name="CT"),))


def test_a_gzip_is_unpacked_no_further_than_its_voxels_and_a_bound(tmp_path, monkeypatch, caplog):
    path = tmp_path / "a.nii.gz"
    write_label(path, np.ones((3, 4, 5), np.int16), Geometry((3, 4, 5), (1.0, 1.0, 1.0)))
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content + bytes(5000)))
    assert read_label(path)[0].all() and "5000 bytes follow the voxels" in caplog.text
    path.write_bytes(gzip.compress(content[:200]) + gzip.compress(content[200:]))  # several members
    assert read_label(path)[0].all()
    monkeypatch.setattr("autoseg.formats.inflate._MOST_SURPLUS", 2**21)
    path.write_bytes(gzip.compress(content + bytes(2**24)))
    with pytest.raises(UserError, match="voxels as the header states them, then the end"):
        read_label(path)


def test_writing_an_mhd_leaves_the_mha_beside_it_alone_and_its_voxels_belong_to_it(tmp_path):
    from autoseg.formats import files_of

    (tmp_path / "a.mha").write_bytes(b"of somebody else")
    write_label(tmp_path / "a.mhd", np.ones((3, 4, 5), np.int16), Geometry((3, 4, 5), (1.0, 1.0, 1.0)))
    assert (tmp_path / "a.mha").read_bytes() == b"of somebody else"
    assert files_of(tmp_path / "a.mhd") == [tmp_path / "a.mhd", tmp_path / "a.zraw"]
