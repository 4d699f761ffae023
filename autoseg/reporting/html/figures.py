"""Figures as SVG that follows the light or dark colour scheme of the reader, packed into data URIs."""

import base64
import io
import warnings
from collections.abc import Callable, Sequence, Sized
from typing import TYPE_CHECKING, Any

import numpy as np

from autoseg.reporting.contact_sheet import COLOURS
from autoseg.reporting.html.blocks import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing
    from matplotlib.typing import RcKeyType

# Placeholders in the drawing, replaced by the scheme's colours of text and lines.
INK, FAINT = "#010203", "#040506"
_SCHEME = ("<style>:root{color:#1f2933;--faint:#d5dae0;--main:#0072b2}"
           "@media (prefers-color-scheme:dark){:root{color:#d6dce3;--faint:#3c454f;--main:#5bb0ea}}</style>")
_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
# Colour-blind people can tell them apart, on light and on dark ground; the yellow of the pictures is left out.
SERIES = (COLOURS[6], COLOURS[1], COLOURS[2], COLOURS[4], COLOURS[5], COLOURS[0])
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
_POINTS = 300  # of a line or a cloud: more than a picture of this size shows
MANY = 24  # labels that one picture names

SIZE = (3.8, 2.6)  # inches; text of 9 points is readable where a picture is as wide as a phone


def ranked(values: Sequence[float]) -> np.ndarray:
    """The values in order; of many values only some, evenly spaced by rank, so that the picture stays small."""
    values_N = np.sort(np.asarray(values, float))
    return values_N if len(values_N) <= _POINTS else values_N[thinned(values_N)]


def drawn(draw: Callable[["Axes"], None], alt: str, caption: str, *, size: tuple[float, float] = SIZE) -> Figure:
    """A figure of one pair of axes."""
    return packed(lambda figure: draw(axes_of(figure)), alt, caption, size=size)


def packed(draw: Callable[["Drawing"], None], alt: str, caption: str, *, size: tuple[float, float] = SIZE) -> Figure:
    """A figure, whatever `draw` puts into it."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Drawing

    style: dict[RcKeyType, Any] = {
        "svg.fonttype": "none", "svg.hashsalt": "autoseg", "font.size": 9, "text.color": INK, "axes.labelcolor": INK,
        "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK, "axes.unicode_minus": True,
        "font.family": "DejaVu Sans", "text.parse_math": False}
    stream = io.BytesIO()
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # the browser has the font
        figure = Drawing(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure)
        figure.savefig(stream, format="svg", transparent=True,
                       metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return Figure(_uri("image/svg+xml", _themed(stream.getvalue().decode()).encode()), alt, caption)


def axes_of(figure: "Drawing") -> "Axes":
    """One pair of axes in our style."""
    return styled(figure.subplots())


def styled(axes: "Axes") -> "Axes":
    """Axes with a light grid and no frame above and to the right."""
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(length=0)
    return axes


def png_uri(image_HWC: np.ndarray) -> str:
    """An RGB picture (H, W, 3; uint8) with few colours, as a data URI."""
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image_HWC).quantize(128, dither=Image.Dither.NONE).save(stream, "PNG", optimize=True)
    return _uri("image/png", stream.getvalue())


def thinned(values: Sized) -> np.ndarray:
    """The indices of a long line that are drawn: evenly spaced, the first and the last included."""
    return np.unique(np.linspace(0, len(values) - 1, min(len(values), _POINTS)).round().astype(int))


def named(name: str, length: int = 26) -> str:
    """A user's name as a label: not too long, and not hidden from legends by a leading underscore."""
    shortened = name if len(name) <= length else name[:length - 1] + "…"
    return "\u200b" + shortened if shortened.startswith("_") else shortened


def _themed(svg: str) -> str:
    """The drawing in the scheme's colours and the reader's own fonts."""
    # The first colour of a series is too dark for a dark ground.
    themes = {INK: "currentColor", FAINT: "var(--faint)", SERIES[0].lower(): "var(--main)", "'DejaVu Sans'": _FONTS}
    for drawn_as, shown_as in themes.items():
        svg = svg.replace(drawn_as, shown_as)
    start = svg.index(">", svg.index("<svg ")) + 1
    return svg[svg.index("<svg "):start] + _SCHEME + svg[start:]


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
