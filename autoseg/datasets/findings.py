"""What a check found, grouped by kind: sentences that differ in files, names and figures alone are of one kind.

A sentence is `where: what (details); what to do`, as `UserError` composes it; warnings may lack each part but `what`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

# What differs between findings of one kind: a path, a quoted name, a file's name, a figure with its unit.
_PATH = r"(?:/|[A-Za-z]:\\)[^\s,;:()]+"
_QUOTED = r"'[^']*'"
_FILE = r"\b[\w.\-]+\.(?:nii|nii\.gz|nrrd|mha|mhd|png|tiff?|jpe?g|bmp|json|csv|tsv|xlsx|npz|npy|parquet)\b"
_NUMBER = r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?%?(?![\w])"
_VARYING = re.compile("|".join((_PATH, _QUOTED, _FILE, _NUMBER)), re.IGNORECASE)
_NAMED_FILE = re.compile(f"{_PATH}|{_FILE}", re.IGNORECASE)
_IS_NUMBER = re.compile(_NUMBER, re.IGNORECASE)
_WHERE = re.compile(r"^(case [^:]+|channel [^:]+|(?:[A-Za-z]:)?[^:]*[/\\.][^:]*): ", re.IGNORECASE)
_DETAILS = re.compile(r" \(((?:found|expected): .*)\)(?=;|$)", re.DOTALL)
_DETAILS_START = re.compile(r" \((?=(?:found|expected): )")


@dataclass(frozen=True)
class Finding:
    """A sentence in its parts. Together `what` and `do` say the kind, once what varies is taken out of them."""

    text: str
    where: str = ""
    what: str = ""
    details: str = ""
    do: str = ""

    @property
    def kind(self) -> str:
        """Equal for all findings of one kind."""
        return _VARYING.sub("…", self.what)

    @property
    def place(self) -> str:
        """Where it is, or else the first file that the sentence names; empty where it names none."""
        named = _NAMED_FILE.search(self.what)
        return self.where or (named[0] if named else "")


@dataclass(frozen=True)
class Kind:
    """Findings of one kind, in the order in which they were found."""

    findings: tuple[Finding, ...]

    @property
    def title(self) -> str:
        """What all of them say. What varies is left out, figures are given as smallest..largest."""
        return _in_common([finding.what for finding in self.findings])

    @property
    def do(self) -> str:
        """What to do, in the words that all have in common; empty where they have none."""
        advice = [finding.do for finding in self.findings]
        return _in_common(advice) if len({_VARYING.sub("…", text) for text in advice}) == 1 else ""


def finding_of(text: str) -> Finding:
    """The parts of a sentence.

    >>> found = finding_of("labelsTr/a.nii.gz: label values are not declared (found: 7; expected: 0, 1); declare 7")
    >>> found.where, found.what, found.details, found.do
    ('labelsTr/a.nii.gz', 'label values are not declared', 'found: 7; expected: 0, 1', 'declare 7')
    """
    located = _WHERE.match(text)
    where, rest = (located[1], text[located.end():]) if located else ("", text)
    detailed = _details_of(rest)
    if detailed:
        what, details, do = detailed
        return Finding(text, where, what, details, do.removeprefix("; "))
    what, _, do = rest.partition("; ")
    return Finding(text, where, what, "", do)


def _details_of(rest: str) -> tuple[str, str, str] | None:
    """What is before the bracket with the details, in it, and behind it: details and advice may hold brackets, too."""
    start = _DETAILS_START.search(rest)
    if start is None:
        return None
    depth = 1
    for end in range(start.end(), len(rest)):
        depth += {"(": 1, ")": -1}.get(rest[end], 0)
        if depth == 0 and rest[end + 1:end + 2] in ("", ";"):
            return rest[:start.start()], rest[start.end():end], rest[end + 1:]
    widest = _DETAILS.search(rest)  # a name in the details opens a bracket that it does not close
    return (rest[:widest.start()], widest[1], rest[widest.end():]) if widest else None


def grouped(texts: Sequence[str]) -> tuple[Kind, ...]:
    """The kinds of some findings: the most frequent first, then in the order in which they were found."""
    kinds: dict[str, list[Finding]] = {}
    for text in texts:
        finding = finding_of(text)
        kinds.setdefault(finding.kind, []).append(finding)
    return tuple(sorted((Kind(tuple(findings)) for findings in kinds.values()), key=lambda kind: -len(kind.findings)))


def shortened(text: str, folder: str) -> str:
    """The text with the paths of a dataset relative to its folder.

    >>> shortened("/data/D1/imagesTr/a.nii: bad; see /data/D1", "/data/D1")
    'imagesTr/a.nii: bad; see D1'
    """
    return text.replace(f"{folder}/", "").replace(folder, PurePath(folder).name) if folder else text


def _in_common(texts: Sequence[str]) -> str:
    """Texts of one pattern as one text. Names that differ become an ellipsis, figures that differ an interval."""
    words = iter([_joined(values) for values in zip(*(_VARYING.findall(text) for text in texts), strict=True)])
    return _VARYING.sub(lambda _: next(words), texts[0])


def _joined(values: Sequence[str]) -> str:
    if len(set(values)) == 1:
        return values[0]
    if all(_IS_NUMBER.fullmatch(value) for value in values) and len({value.endswith("%") for value in values}) == 1:
        ordered = sorted(values, key=lambda value: float(value.removesuffix("%")))
        return f"{ordered[0]}..{ordered[-1]}"
    return "…"
