"""Fingerprints of volumes with measured ceilings, whose slices may be thicker than their headers say."""

from planners.rules.ceiling import grids_to_measure
from planners.schema.ceiling import GridCeiling, LabelCeiling
from planners.schema.channels import ChannelSpec
from planners.schema.fingerprint import CaseMeasure, Fingerprint
from planners.schema.hardware import GIB, KnownHardware
from planners.schema.labels import LabelSpec

LAPTOP = KnownHardware(device="cpu", memory_bytes=12 * GIB, flops_per_s=300e9, cores=2)


def volumes(shape, thickness=1.0, across=0, spacing_mm=(1.0, 1.0, 1.0)) -> Fingerprint:
    """40 cases of a label that loses 0.01 of Dice with each millimetre that a voxel is longer; slices along `across`
    are `thickness` times thicker than their spacing.
    """
    cases = tuple(CaseMeasure(case=f"c{i:02}", shape=shape, spacing_mm=spacing_mm) for i in range(40))
    bare = Fingerprint(dataset="Dataset001_X", channels=(ChannelSpec(name="MR"),), cases=cases,
                       labels=LabelSpec(names={"background": (0,), "organ": (1,)}))
    true_mm = [mm * (thickness if axis == across else 1) for axis, mm in enumerate(spacing_mm)]

    def left(factors) -> LabelCeiling:
        lost = sum(0.01 * (factor - 1) * mm for factor, mm in zip(factors, true_mm, strict=True) if factor is not None)
        return LabelCeiling(name="organ", cases=20, dice=1 - lost, dice_p25=1 - lost, components=20, kept=1.0)

    grids = tuple(GridCeiling(factors=factors, labels=(left(factors),)) for factors in grids_to_measure(bare))
    return bare.model_copy(update={"ceilings": grids})
