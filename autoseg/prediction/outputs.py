"""Where a prediction writes: a folder with a mask per case, or the one file that was named for the one case."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.datasets.case import CaseFiles
from autoseg.formats import READERS, ending_of, known_ending
from autoseg.formats.files import is_folder
from autoseg.formats.source import refuse_lossy
from autoseg.workspace.files import check_writable
from autoseg.workspace.paths import below

ARRAYS = ("probabilities", "entropy", "disagreement")


@dataclass(frozen=True)
class Outputs:
    """The files of a prediction. Where a file was named, `stem` is its name without the ending, else it is empty."""

    folder: Path
    ending: str
    stem: str = ""

    @classmethod
    def open(cls, target: Path, ending: str, cases: Sequence[CaseFiles]) -> "Outputs":
        """The outputs of a target: a file where its name has the ending of an image and no folder has this name.

        Raises UserError where a file is named for several cases, or nothing can be written there.
        """
        if known_ending(target.name) is None or is_folder(target):
            check_writable(target)
            return cls(target, ending)
        if len(cases) > 1:
            raise UserError("one file cannot hold the masks of several cases", where=target, found=f"{len(cases)} cases",
                            expected="a folder", do="name a folder with -o")
        refuse_lossy(target)
        check_writable(target.parent)
        length = len(ending_of(target))
        return cls(target.parent, target.name[-length:], target.name[:-length])

    def mask(self, case: str) -> Path:
        return below(self.folder, f"{self.stem or case}{self.ending}")

    def array(self, case: str, kind: str) -> Path:
        """The file of an array of `ARRAYS`. Images of whole numbers cannot hold probabilities; TIFF can."""
        ending = ".tif" if READERS.get(self.ending.lower()).flat else self.ending
        return below(self.folder, f"{self.stem or case}_{kind}{ending}")

    def record(self, name: str) -> Path:
        """A file that says something of all masks: `labels.json`, or `mask_labels.json` beside a `mask.nii.gz`."""
        return self.folder / (f"{self.stem}_{name}" if self.stem else name)
