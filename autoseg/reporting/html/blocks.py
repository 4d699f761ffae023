"""What a section of the report is made of. Text is plain: the template escapes it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """A paragraph; `quiet` is for remarks on how to read what stands beside."""

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
    """A cell of a table; numbers are set to the right. `mark` is `good`, `bad` or empty, and never the only sign."""

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
    """A picture as a data URI, with what it shows in words (`alt`) and a caption that names units and n."""

    uri: str
    alt: str
    caption: str


@dataclass(frozen=True)
class Figures:
    """Pictures side by side where there is room; `columns` is their number at full width."""

    figures: tuple[Figure, ...]
    title: str = ""
    columns: int = 3
    kind: str = "figures"


@dataclass(frozen=True)
class Facts:
    """Large figures: what, how much, and a remark."""

    facts: tuple[tuple[str, str, str], ...]
    kind: str = "facts"


@dataclass(frozen=True)
class Absent:
    """What is not there, in words, and the command that makes it."""

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
    """Colours and the names that they stand for."""

    entries: tuple[tuple[str, str], ...]
    kind: str = "legend"


Block = Text | Bullets | Table | Figures | Facts | Absent | Commands | Heading | Legend


@dataclass(frozen=True)
class Section:
    """A chapter of the report."""

    id: str
    title: str
    blocks: tuple[Block, ...]


def table(caption: str, head: tuple[str, ...], rows: list[tuple[str | Cell, ...]], *, texts: tuple[int, ...] = (),
          limit: int = 200) -> Table:
    """A table: all but the first column and those of `texts` are numbers; `limit` rows at most are shown."""
    made = tuple(tuple(cell if isinstance(cell, Cell) else Cell(cell, column not in (0, *texts))
                       for column, cell in enumerate(row)) for row in rows[:limit])
    more = f" {len(rows) - limit} more rows are not shown." if len(rows) > limit else ""
    return Table(caption + more, head, made)
