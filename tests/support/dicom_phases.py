"""Studies of DICOM with several volumes in a series: phases, echoes, orientations, enhanced files."""

import numpy as np

from dicom_expected import H, N, Outcome, Volume, W, at, one
from dicom_studies import AXIAL, SPACING, truth, write_frames, write_series


def enhanced_ct(folder):
    order = [3, 0, 5, 1, 4, 2]
    write_frames(folder / "x", truth()[order], [at(k) for k in order])
    return one(truth())


def enhanced_mr_with_a_slope_per_frame(folder):
    values = np.arange(N * H * W).reshape(N, H, W) * np.array([0.5, 0.25, 1.5, 2, 1, 3])[:, None, None]
    write_frames(folder / "x", values, [at(k) for k in range(N)], modality="MR",
                 slope=lambda k: [0.5, 0.25, 1.5, 2, 1, 3][k])
    return one(values, tolerance=1e-4)


def enhanced_with_two_orientations(folder):
    sagittal = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    side = [[float(k) * SPACING[0], 0.0, 0.0] for k in range(N)]
    write_frames(folder / "x", np.concatenate([truth(0), truth(1)]), [at(k) for k in range(N)] + side,
                 orientations=[AXIAL] * N + [sagittal] * N)
    return Outcome((Volume(truth(0)), Volume(truth(1)[::-1], origin_mm=(SPACING[0] * (N - 1), 0.0, 0.0))))


def enhanced_with_two_temporal_positions(folder):
    frames = np.stack([truth(0), truth(1)], axis=1).reshape(-1, H, W)
    write_frames(folder / "x", frames, [at(k // 2) for k in range(2 * N)],
                 content=lambda k: {"TemporalPositionIndex": 1 + k % 2})
    return Outcome((Volume(truth(0)), Volume(truth(1))))


def enhanced_whose_every_frame_turns(folder):
    angles = np.linspace(0, 0.5, N)
    write_frames(folder / "x", truth(), [at(k) for k in range(N)],
                 orientations=[(np.cos(a), np.sin(a), 0, -np.sin(a), np.cos(a), 0) for a in angles])
    return Outcome(others=("a localiser: its slices are not parallel",))


def phases(folder, mark):
    for k in range(3):
        write_series(folder, truth(k), first=10 * k, **mark(k))
    return Outcome(tuple(Volume(truth(k)) for k in range(3)))


def phases_by_acquisition_number(folder):
    return phases(folder, lambda k: {"AcquisitionNumber": k + 9})


def phases_by_temporal_position(folder):
    return phases(folder, lambda k: {"TemporalPositionIdentifier": k + 9})


def phases_by_content_time_of_each_phase(folder):
    return phases(folder, lambda k: {"ContentTime": f"12{k}000.50"})


def phases_by_acquisition_times_of_each_slice(folder):
    return phases(folder, lambda p: {"AcquisitionTime": lambda k: f"12{p}0{k:02d}"})


def phases_over_midnight(folder):
    return phases(folder, lambda p: {"AcquisitionDate": ["20200101", "20200102", "20200102"][p],
                                     "AcquisitionTime": ["235930", "000030", "000130"][p]})


def phases_over_midnight_without_dates(folder):
    return phases(folder, lambda p: {"AcquisitionTime": ["235930", "0000", "000130.5"][p]})


def phases_over_midnight_without_dates_slice_by_slice(folder):
    def time(phase, k):
        at_s = 86400 - 65 + 60 * phase + k
        return f"{at_s // 3600 % 24:02d}{at_s // 60 % 60:02d}{at_s % 60:02d}"

    return phases(folder, lambda p: {"ContentTime": lambda k: time(p, k)})


def phases_without_dates_over_the_whole_day(folder):
    phases(folder, lambda p: {"AcquisitionTime": ["010000", "090000", "170000"][p]})
    return Outcome(refusal="the order of phases is not clear.*acquisition time 010000 to 170000")


def phases_by_trigger_time(folder):
    return phases(folder, lambda p: {"TriggerTime": lambda k: 100 * p + k})


def echoes(folder):
    return phases(folder, lambda k: {"EchoNumbers": k + 1, "EchoTime": 10 * k + 2})


def b_values(folder):
    return phases(folder, lambda k: {"DiffusionBValue": 400.0 * k})


def phases_between_each_other(folder):
    write_series(folder, truth(0), AcquisitionNumber=1)
    write_series(folder, truth(1), AcquisitionNumber=2, first=10, position_mm=lambda k: at(k + 0.4))
    return Outcome((Volume(truth(0)), Volume(truth(1), origin_mm=tuple(at(0.4)))))


def phases_shifted_by_half_a_distance(folder):
    write_series(folder, truth(0), TemporalPositionIdentifier=1)
    write_series(folder, truth(1), TemporalPositionIdentifier=2, first=10, position_mm=lambda k: at(k + 0.5))
    return Outcome((Volume(truth(0)), Volume(truth(1), origin_mm=tuple(at(0.5)))))


def a_phase_of_a_small_part(folder):
    whole = truth(0, (12, H, W))
    write_series(folder, whole, AcquisitionNumber=1)
    write_series(folder, truth(1)[:4], AcquisitionNumber=2, first=20, position_mm=lambda k: at(k + 5))
    return Outcome((Volume(whole), Volume(truth(1)[:4], origin_mm=tuple(at(5)))))


def one_phase_lacks_a_slice(folder):
    write_series(folder, truth(0), AcquisitionNumber=1)
    write_series(folder, truth(1), AcquisitionNumber=2, first=10)[3].unlink()
    return Outcome((Volume(truth(0)),), refusal="slices are missing.*none at .*-592.50")


def phases_that_nothing_tells_apart(folder):
    write_series(folder, truth(0))
    write_series(folder, truth(1), first=10)
    return Outcome(refusal=r"several slices of one acquisition lie at the same place.*\(-110.00, -90.00, -600.00\) mm")


STACKED = [
    enhanced_ct, enhanced_mr_with_a_slope_per_frame, enhanced_with_two_orientations,
    enhanced_with_two_temporal_positions, enhanced_whose_every_frame_turns, phases_by_acquisition_number,
    phases_by_temporal_position, phases_by_content_time_of_each_phase, phases_by_acquisition_times_of_each_slice,
    phases_over_midnight, phases_over_midnight_without_dates, phases_over_midnight_without_dates_slice_by_slice,
    phases_without_dates_over_the_whole_day, phases_by_trigger_time, echoes, b_values, phases_between_each_other,
    phases_shifted_by_half_a_distance, a_phase_of_a_small_part, one_phase_lacks_a_slice, phases_that_nothing_tells_apart]
