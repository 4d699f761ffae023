"""Plans of one configuration, as small as the types allow."""

from planners.architectures.unet import UNet
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan, Resampling, Schedule

TWO_LABELS = LabelSpec(names={"background": (0,), "liver": (1,), "tumour": (2,)})


def tiny_plan(spacing_mm=(1.0, 1.0, 1.0), *, normalizers=("zscore",), transpose=(0, 1, 2), labels=TWO_LABELS,
              intensities=(), resampling=None) -> Plan:
    """A plan whose configuration `tiny` has one channel a normalizer."""
    n = len(spacing_mm)
    architecture = UNet(strides=((1,) * n,), kernel_sizes=((3,) * n,), features=(4,), blocks_encoder=(1,),
                        convs_decoder=())
    configuration = Configuration(
        spacing_mm=spacing_mm, median_shape=(8.0,) * n, patch=(8,) * n, batch=1, batch_dice=False, architecture=architecture,
        network=Part(name="unet"), normalizers=tuple(Part(name=name) for name in normalizers),
        resampling=resampling or Resampling(), augmentation=Part(name="none"),
        schedule=Schedule(iterations=1, learning_rate=0.1))
    channels = tuple(ChannelSpec(name=f"MR_{c}") for c in range(len(normalizers)))
    return Plan(dataset="Dataset001_Tiny", planner="test", channels=channels, labels=labels, intensities=intensities,
                transpose=transpose, configurations={"tiny": configuration})
