"""Arrays that a caller hands to a predictor are what its model takes, or a UserError says what was expected."""

import numpy as np

from autoseg.base.errors import UserError
from autoseg.datasets.case import Case
from planners.schema.plan import Plan


def check_arrays(case: Case, plan: Plan) -> None:
    """Raises UserError where axes, channels, number type or size of a case's arrays do not fit the plan and its grid.

    Voxels of a case that was read from files were checked when they were read.
    """
    where, shape = f"case {case.name}", (len(plan.channels), *case.geometry.shape)
    names = ", ".join(channel.name for channel in plan.channels)
    expected = f"shape {shape}: channels ({names}), z, y, x of the geometry"
    if case.image_CDHW.shape != shape:
        raise UserError("image_CDHW has not the shape that the model and the geometry say", where=where,
                        found=f"shape {case.image_CDHW.shape}", expected=expected, do="order its axes as channels, z, y, x")
    if case.image_CDHW.dtype != np.float32:
        raise UserError("image_CDHW has another number type", where=where, found=case.image_CDHW.dtype, expected="float32",
                        do="convert it with image.astype(np.float32)")
    if case.present_C.shape != shape[:1] or case.present_C.dtype != bool:
        raise UserError("present_C does not say of each channel whether it is there", where=where,
                        found=f"shape {case.present_C.shape}, {case.present_C.dtype}", expected=f"shape {shape[:1]}, bool")
    lacking = [channel.name for channel, present in zip(plan.channels, case.present_C, strict=True)
               if channel.required and not present]
    if lacking:
        raise UserError("a channel is missing that the model needs", where=where, found=f"no {', '.join(lacking)}",
                        expected=names)
    if case.absent_CDHW is not None and (case.absent_CDHW.shape != shape or case.absent_CDHW.dtype != bool):
        raise UserError("absent_CDHW does not fit image_CDHW", where=where,
                        found=f"shape {case.absent_CDHW.shape}, {case.absent_CDHW.dtype}", expected=f"shape {shape}, bool")
    if case.source is None and not np.isfinite(case.image_CDHW).all():
        raise UserError("image_CDHW holds NaN or infinity", where=where, expected="finite numbers",
                        do="replace these voxels by a value that means something")
