"""`resenc_m`, `resenc_l`, `resenc_xl`: nnU-Net's residual-encoder presets (Isensee et al., MICCAI 2024)."""

from planners.classic import Preset, published_plan
from planners.schema.fingerprint import Fingerprint
from planners.schema.hardware import Budget, Hardware
from planners.schema.plan import Plan

_SHARED = Preset(block="residual", memory_gib=8, values_3d=680e6, values_2d=135e6, blocks_encoder=(1, 3, 4, 6),
                 convs_decoder=1, dataset_share=1, smallest_batch_2d=12)
RESENC_M = _SHARED
RESENC_L = _SHARED.model_copy(update={"memory_gib": 24, "values_3d": 2100e6, "values_2d": 380e6})
RESENC_XL = _SHARED.model_copy(update={"memory_gib": 40, "values_3d": 3600e6, "values_2d": 560e6})


def resenc_m(fingerprint: Fingerprint, hardware: Hardware, budget: Budget) -> Plan:
    """A residual encoder for 8 GiB, or for `budget.memory_bytes` if given."""
    return published_plan("resenc_m", RESENC_M, fingerprint, budget)


def resenc_l(fingerprint: Fingerprint, hardware: Hardware, budget: Budget) -> Plan:
    """A residual encoder for 24 GiB, or for `budget.memory_bytes` if given."""
    return published_plan("resenc_l", RESENC_L, fingerprint, budget)


def resenc_xl(fingerprint: Fingerprint, hardware: Hardware, budget: Budget) -> Plan:
    """A residual encoder for 40 GiB, or for `budget.memory_bytes` if given."""
    return published_plan("resenc_xl", RESENC_XL, fingerprint, budget)
