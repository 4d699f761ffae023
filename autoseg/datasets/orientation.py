"""The orientation that the images of a dataset have in common, in which they are prepared and predicted."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from autoseg.base.errors import listed
from autoseg.grids.geometry import Geometry

# Where an axis lies farther than this from those of the body, the nearest of them is chance (hearts along their own axes).
_OBLIQUE_DEGREES = 30.0
_EXAMPLES = 3


@dataclass(frozen=True)
class CommonOrientation:
    """Where the axes x, y, z of most images run to, such as RAS; empty: images are taken as they are stored.

    `turned` are the cases that are stored in another orientation.
    """

    axes: str = ""
    turned: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def common_orientation(grids: Mapping[str, Geometry]) -> CommonOrientation:
    """The orientation of most cases, of which the grids are given by name.

    Where cases differ and lie obliquely, there is none: to which axis of the body an axis of the image is nearest may then
    change from case to case.
    """
    known = {name: orientation for name, grid in grids.items() if (orientation := grid.orientation())}
    if not known:
        return CommonOrientation()
    axes = max(sorted(set(known.values())), key=Counter(known.values()).__getitem__)
    others = {name: orientation for name, orientation in known.items() if orientation != axes}
    if not others:
        return CommonOrientation(axes, (), _silent(grids, known, axes))
    oblique = [name for name in known if grids[name].degrees_off_axes() > _OBLIQUE_DEGREES]
    stored = (f"{len(others)} of {len(grids)} cases are stored in another orientation than the others, which are {axes} "
              f"(where x, y, z run to): {_examples(others)}")
    if oblique:
        return CommonOrientation(warnings=(
            f"{stored}. {len(oblique)} cases lie obliquely ({listed(oblique, _EXAMPLES)}), so that no common "
            "orientation is clear: images are taken as they are stored. Store all in one order of axes",))
    return CommonOrientation(axes, tuple(others), (f"{stored}. They are turned to {axes}; masks are written as images are "
                                                   "stored", *_silent(grids, known, axes)))


def orientation_doubt(name: str, grid: Geometry, orientation: str) -> tuple[str, ...]:
    """A sentence where a case cannot be brought for certain to the orientation that a model was trained in."""
    own = grid.orientation()
    if not orientation or own == orientation or grid.dimensions == 2:
        return ()
    if not own:
        return (f"case {name} does not say how it lies in the patient; it is taken as if it was stored as {orientation}, as "
                "the training images were",)
    if grid.degrees_off_axes() > _OBLIQUE_DEGREES:
        return (f"case {name} is stored as {own} and lies {grid.degrees_off_axes():.0f} degrees off the axes of the body; "
                f"it is turned to {orientation}, in which the model was trained: look at its mask",)
    return ()


def _silent(grids: Mapping[str, Geometry], known: Mapping[str, str], axes: str) -> tuple[str, ...]:
    silent = [name for name in grids if name not in known]
    return (f"{len(silent)} of {len(grids)} cases do not say how they lie in the patient; they are taken as if they were "
            f"stored as {axes}, as the others are: {listed(silent, _EXAMPLES)}",) if silent else ()


def _examples(orientations: Mapping[str, str]) -> str:
    return listed([f"{name} ({orientation})" for name, orientation in orientations.items()], _EXAMPLES)
