"""Studies of DICOM with one oddity each, and what must come of them. Values, spacing and origin are known from writing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from dicom_expected import WIDE, H, N, Outcome, Volume, W, at, one
from dicom_studies import (
    AXIAL,
    ORIGIN,
    SPACING,
    truth,
    write_directory,
    write_other,
    write_series,
)


def nested_without_endings(folder):
    for part, side in ((0, "a"), (1, "a/b/c")):
        write_series(folder / side, truth()[3 * part:3 * part + 3], first=3 * part, name=lambda k: f"IM{k}",
                     position_mm=lambda k, part=part: at(3 * part + k))
    return one(truth())


def files_in_reverse_with_wrong_instance_numbers(folder):
    write_series(folder, truth(), name=lambda k: f"{9 - k}.dcm", InstanceNumber=lambda k: 50 - k)
    return one(truth())


def mixed_patients_in_one_folder(folder):
    for k, patient in enumerate(("A", "B")):
        write_series(folder, truth(k), study=f"1.2.3.{k + 1}", patient=patient, name=lambda n, k=k: f"{n}_{k}")
    return Outcome((Volume(truth(0)), Volume(truth(1))))


def mixed_series_in_one_folder(folder):
    write_series(folder, truth(0), series=1, name=lambda n: f"{n}_x")
    write_series(folder, truth(1), series=2, name=lambda n: f"{n}_y")
    return Outcome((Volume(truth(0)), Volume(truth(1))))


def a_disc_with_a_dicomdir(folder):
    write_directory(folder / "DICOMDIR")
    write_series(folder / "DICOM" / "S1", truth(), name=lambda k: f"I{k}")
    return Outcome((Volume(truth()),), others=("the directory of a disc (DICOMDIR)",))


def files_that_are_no_dicom(folder):
    (folder / "notes.txt").write_text("hello")
    write_series(folder, truth())
    return Outcome((Volume(truth()),), others=("no DICOM file",))


def a_slice_twice_with_another_uid(folder):
    write_series(folder, truth())
    write_series(folder, truth()[2:3], first=20, position_mm=lambda k: at(2))
    return Outcome(refusal="lie at the same place.*-595.00")


def the_same_files_twice(folder):
    write_series(folder / "a", truth())
    write_series(folder / "b", truth())
    return Outcome((Volume(truth()),), remarks=("6 slices are there twice and taken once",))


def slices_of_one_uid(folder):
    write_series(folder, truth(), SOPInstanceUID="1.2.3.4")
    return one(truth())


def missing_slices(folder):
    for path in write_series(folder, truth())[2:4]:
        path.unlink()
    return Outcome(refusal=r"slices are missing.*\(-110.00, -90.00, -595.00\), \(-110.00, -90.00, -592.50\) mm; 4 slices")


def uneven_distances(folder):
    write_series(folder, truth(), position_mm=lambda k: at(k + 0.3 * (k > 3)))
    return Outcome(refusal=r"not evenly apart.*3.25 mm before the one at .*-589.25")


def gantry_tilt(folder):
    return _ramp(folder, lambda k: [ORIGIN[0], ORIGIN[1] + 0.75 * 0.4 * k, ORIGIN[2] + SPACING[0] * k])


def slices_beside_the_line(folder):
    write_series(folder, truth(), position_mm=lambda k: [ORIGIN[0] + (k == 3), ORIGIN[1], at(k)[2]])
    return Outcome(refusal="do not lie on a straight line.*2.00 pixels")


def oblique_slices(folder):
    c, s = np.cos(0.3), np.sin(0.3)
    write_series(folder, truth(), orientation=(1, 0, 0, 0, c, s))
    return one(truth())


def inverted_mr(folder):
    write_series(folder, 4095 - (truth() + 1000), modality="MR", PhotometricInterpretation="MONOCHROME1", BitsStored=12)
    return one(truth() + 1000)


def inverted_ct_keeps_its_hounsfield_units(folder):
    write_series(folder, truth(), PhotometricInterpretation="MONOCHROME1")
    return one(truth())


def compressed(syntax):
    def study(folder):
        write_series(folder, WIDE, syntax=syntax)
        return one(WIDE)
    return study


def jpeg_lossless(folder):
    """SimpleITK writes what pydicom has no encoder for."""
    import pydicom
    import SimpleITK as sitk

    for path in write_series(folder, WIDE):
        image, header = sitk.ReadImage(str(path)), pydicom.dcmread(path)
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(path))
        writer.SetCompressor("JPEG")
        writer.UseCompressionOn()
        writer.Execute(sitk.Cast(image, sitk.sitkInt16))
        coded = pydicom.dcmread(path)
        header.PixelData, header.BitsStored, header.HighBit = coded.PixelData, coded.BitsStored, coded.HighBit
        header.PixelRepresentation, header.RescaleIntercept = coded.PixelRepresentation, coded.RescaleIntercept
        header["PixelData"].VR, header["PixelData"].is_undefined_length = "OB", True
        header.file_meta.TransferSyntaxUID = coded.file_meta.TransferSyntaxUID
        assert header.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.70"
        header.save_as(path)
    return one(WIDE)


def localizer_of_three_planes(folder):
    planes = (AXIAL, (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1))
    for k, plane in enumerate(planes):
        write_series(folder, truth(k)[:1], first=k, orientation=plane)
    return Outcome(others=("a localiser: its slices are not parallel",))


def secondary_captures_and_reports(folder):
    write_series(folder, truth())
    write_other(folder / "report", "SR")
    write_other(folder / "structures", "RTSTRUCT", series=91)
    write_series(folder / "capture", truth(1)[:1], modality="OT", series=9, ImagePositionPatient=None,
                 ImageOrientationPatient=None)
    return Outcome((Volume(truth()),), others=("a picture without a position in the patient, such as a secondary capture",
                                               "a report (SR)", "structures (RTSTRUCT)"))


def an_overlay_in_the_unused_bits(folder):
    import pydicom

    for path in write_series(folder, truth(), BitsStored=12):
        file = pydicom.dcmread(path)
        file.PixelData = (np.frombuffer(file.PixelData, "<u2") | 0x8000).astype("<u2").tobytes()
        file.save_as(path)
    return one(truth())


def big_endian(folder):
    write_series(folder, truth(), syntax="1.2.840.10008.1.2.2")
    return one(truth())


def damaged_header(folder):
    path = write_series(folder, truth())[2]
    path.write_bytes(path.read_bytes()[:700])
    return Outcome(refusal="should be a slice and is none.*no image")


def no_voxels_in_a_file(folder):
    path = write_series(folder, truth())[2]
    path.write_bytes(path.read_bytes()[:-100])
    return Outcome(refusal=f"{path.name}.*")


def mosaic(folder):
    write_series(folder, truth()[:1], modality="MR", ImageType=["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"])
    return Outcome(others=("a mosaic of slices in one picture",))


def palette(folder):
    write_series(folder, truth(), PhotometricInterpretation="PALETTE COLOR")
    return Outcome(others=("a colour picture",))


def a_slope_of_zero(folder):
    import pydicom

    for path in write_series(folder, truth()):
        file = pydicom.dcmread(path)
        file.RescaleSlope = 0 if path.name == "0997.dcm" else 1
        file.save_as(path)
    return Outcome(refusal="0997.dcm: all its values are the same")


def a_ct_without_hounsfield_units(folder):
    write_series(folder, truth() + 1000, intercept=0, RescaleIntercept=None)
    return Outcome(refusal="how its numbers become quantities, such as HU.*6 files")


def two_patients_with_one_series_uid(folder):
    for k, patient in enumerate("AB"):
        write_series(folder / patient, truth(k), patient=patient, AcquisitionTime=f"12{k}000")
    return Outcome(refusal="one series UID belong to different patients.*6 files")


def a_ct_and_an_mr_with_one_series_uid(folder):
    write_series(folder, truth(0), AcquisitionNumber=1)
    write_series(folder, truth(1), AcquisitionNumber=2, first=10, Modality="MR")
    return Outcome(refusal="one series UID belong to different patients, studies or modalities.*6 files")


def the_last_file_cut_short_and_without_an_ending(folder):
    path = write_series(folder, truth(), name=lambda k: f"IM{k}")[-1]
    path.write_bytes(path.read_bytes()[:300])
    return Outcome((Volume(truth()[:-1]),), refusal="IM5: the file should be a slice and is none")


def values_that_grow_beyond_16_bits(folder):
    slopes = (1, 1, 40, 1, 2_000_000, 1)
    values = (truth() + 1000) * np.array(slopes, np.int64)[:, None, None]
    write_series(folder, values, modality="MR", slope=lambda k: slopes[k])
    return one(values)


def a_slope_beyond_whole_numbers(folder):
    write_series(folder, truth(), modality="MR", RescaleSlope="1e30")
    return one(truth() * 1e30, tolerance=1e25)


def voxels_that_are_fractions(folder):
    import pydicom

    for path in write_series(folder, truth(), modality="MR"):
        file = pydicom.dcmread(path)
        del file.PixelData
        file.FloatPixelData, file.BitsAllocated = np.full((H, W), 0.7, "<f4").tobytes(), 32
        file.save_as(path)
    return Outcome(refusal="stored as fractions")


def _ramp(folder: Path, position: Callable[[int], list[float]]) -> Outcome:
    """A field that is linear in the world: linear interpolation must keep it, wherever slices lie."""
    def field_at(z, y, x):
        return 2.0 * x - 3.0 * y + 0.5 * z
    y, x = np.meshgrid(SPACING[1] * np.arange(H), SPACING[2] * np.arange(W), indexing="ij")
    values = np.stack([field_at(p[2], p[1] + y, p[0] + x) for p in map(position, range(N))])
    write_series(folder, values, position_mm=position, slope=0.002, intercept=-300)
    tall = H + 2  # the last slice is shifted by two pixels
    whole = np.stack([field_at(at(k)[2], ORIGIN[1] + SPACING[1] * np.arange(tall)[:, None],
                               ORIGIN[0] + SPACING[2] * np.arange(W)[None]) for k in range(N)])
    inside = np.stack([(np.arange(tall) >= 0.4 * k - 1e-9) & (np.arange(tall) <= H - 1 + 0.4 * k + 1e-9) for k in range(N)])
    return one(np.where(inside[..., None], whole, np.nan), tolerance=3e-3)


STUDIES = [
    nested_without_endings, files_in_reverse_with_wrong_instance_numbers, mixed_patients_in_one_folder,
    mixed_series_in_one_folder, a_disc_with_a_dicomdir, files_that_are_no_dicom, slices_of_one_uid,
    a_slice_twice_with_another_uid, the_same_files_twice, missing_slices, uneven_distances, gantry_tilt,
    slices_beside_the_line, oblique_slices, inverted_mr, inverted_ct_keeps_its_hounsfield_units, jpeg_lossless,
    localizer_of_three_planes, secondary_captures_and_reports, an_overlay_in_the_unused_bits, big_endian,
    damaged_header, no_voxels_in_a_file, mosaic, palette, a_slope_of_zero, a_ct_without_hounsfield_units,
    two_patients_with_one_series_uid, a_ct_and_an_mr_with_one_series_uid, the_last_file_cut_short_and_without_an_ending,
    values_that_grow_beyond_16_bits, a_slope_beyond_whole_numbers, voxels_that_are_fractions]
