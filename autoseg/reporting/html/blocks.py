"""The parts of a section of the report. Text is plain: the template escapes it."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """A paragraph; `quiet` is for remarks on how to read the rest of the section."""

    text: str
    quiet: bool = False
    kind: str = "text"


@dataclass(frozen=True)
class Bullets:
    """A list of sentences."""

    items: tuple[str, ...]
    kind: str = "bullets"


@dataclass(frozen=True)
class Cell:
    """A cell of a table; numbers are aligned right. `mark` is `good`, `bad` or empty; the text says the same in words."""

    text: str
    number: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Table:
    """A table with a caption; the first cell of a row names it."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    kind: str = "table"


@dataclass(frozen=True)
class Figure:
    """A picture as a data URI, its description in words (`alt`), and a caption that names units and n."""

    uri: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Figures:
    """Pictures beside each other where there is room; `columns` is their number at full width."""

    figures: tuple[Figure, ...]
    title: str = ""
    columns: int = 3
    kind: str = "figures"


@dataclass(frozen=True)
class Facts:
    """Large numbers: name, value, and a remark."""

    facts: tuple[tuple[str, str, str], ...]
    kind: str = "facts"


@dataclass(frozen=True)
class Absent:
    """A sentence on what is missing, and the command that makes it."""

    text: str
    command: str = ""
    kind: str = "absent"


@dataclass(frozen=True)
class Commands:
    """Lines to type."""

    lines: tuple[str, ...]
    kind: str = "commands"


@dataclass(frozen=True)
class Heading:
    """A title within a section."""

    text: str
    kind: str = "heading"


@dataclass(frozen=True)
class Legend:
    """Colours and their names."""

    entries: tuple[tuple[str, str], ...]
    kind: str = "legend"


Block = Text | Bullets | Table | Figures | Facts | Absent | Commands | Heading | Legend


@dataclass(frozen=True)
class Section:
    """A chapter of the report."""

    id: str
    title: str
    blocks: tuple[Block, ...]


def table(caption: str, head: tuple[str, ...], rows: Sequence[tuple[str | Cell, ...]], *, texts: tuple[int, ...] = (),
          limit: int = 200) -> Table:
    """A table: the first column and those of `texts` are text, the others numbers; at most `limit` rows are shown."""
    cells = tuple(tuple(cell if isinstance(cell, Cell) else Cell(cell, column not in (0, *texts))
                        for column, cell in enumerate(row)) for row in rows[:limit])
    more = f" {len(rows) - limit} more rows are not shown." if len(rows) > limit else ""
    return Table(caption + more, head, cells)
