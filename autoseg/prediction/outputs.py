"""Where a prediction writes: a folder with a mask per case, or the one file that was named for the one case."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import UserError, listed
from autoseg.datasets.case import CaseFiles
from autoseg.formats import READERS, ending_of, known_ending
from autoseg.formats.files import is_folder
from autoseg.formats.results import DicomKind, OutputFormat, is_dicom_name
from autoseg.formats.source import refuse_lossy
from autoseg.workspace.files import check_writable
from autoseg.workspace.paths import below

ARRAYS = ("probabilities", "entropy", "disagreement")
_DICOM_ENDING = ".dcm"
_ARRAYS_BESIDE_DICOM = ".nii.gz"


@dataclass(frozen=True)
class Outputs:
    """The files of a prediction. Where a file was named, `stem` is its name without the ending, else it is empty. `dicom` is
    the kind of object that masks are in DICOM; None: they are files that carry nothing but their grid.
    """

    folder: Path
    ending: str
    stem: str = ""
    dicom: DicomKind | None = None

    @classmethod
    def open(cls, target: Path, ending: str, cases: Sequence[CaseFiles], form: OutputFormat | None = None) -> "Outputs":
        """The outputs of a target: a file where its name has the ending of an image and no folder has this name. Without a
        format that the user asks for, masks in a folder have the `ending`.

        Raises UserError where a file is named for several cases, its name does not fit the format, or nothing can be written
        there.
        """
        kind = None if form is None else form.dicom
        is_dicom = is_dicom_name(target.name)
        if is_folder(target) or not (is_dicom or known_ending(target.name) is not None):
            check_writable(target)
            return cls(target, ending if form is None else form.ending, dicom=kind)
        if len(cases) > 1:
            raise UserError("one file cannot hold the masks of several cases", where=target, found=f"{len(cases)} cases",
                            expected="a folder", do="name a folder with -o")
        if form is not None and not target.name.lower().endswith(form.endings):
            raise UserError("the name of the mask does not fit the output format", where=target,
                            found=f"--output-format {form.name}", expected=f"a name that ends in {listed(form.endings)}",
                            do="name another file with -o, or leave out --output-format")
        if not is_dicom:
            refuse_lossy(target)
        check_writable(target.parent)
        length = len(_DICOM_ENDING if is_dicom else ending_of(target))
        return cls(target.parent, target.name[-length:], target.name[:-length], kind)

    def mask(self, case: str) -> Path:
        return below(self.folder, f"{self.stem or case}{self.ending}")

    def array(self, case: str, kind: str) -> Path:
        """The file of an array of `ARRAYS`. Images of whole numbers cannot hold probabilities; TIFF can. In DICOM only the
        probabilities beside a segmentation have a form.
        """
        ending = self.ending
        if self.dicom is not None:
            ending = ending if self.dicom == "seg" and kind == "probabilities" else _ARRAYS_BESIDE_DICOM
        elif READERS.get(ending.lower()).flat:
            ending = ".tif"
        return below(self.folder, f"{self.stem or case}_{kind}{ending}")

    def record(self, name: str) -> Path:
        """A file that says something of all masks: `labels.json`, or `mask_labels.json` beside a `mask.nii.gz`."""
        return self.folder / (f"{self.stem}_{name}" if self.stem else name)
