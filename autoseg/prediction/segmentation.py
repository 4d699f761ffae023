"""What a prediction of a case is: as arrays, and as images of the kind that a caller gave."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic

import numpy as np

from autoseg.datasets.case import Case
from autoseg.formats.in_memory import Image
from autoseg.formats.results import DicomKind, DicomResults, is_dicom_name
from autoseg.prediction.uncertainty import CaseQuality


@dataclass(frozen=True)
class Prediction:
    """A case's labels (z, y, x) on the file's grid; the others where they were asked for: probabilities (K, z, y, x),
    the predicted quality of the case, the models' entropy and their disagreement (z, y, x).
    """

    case: Case
    label_DHW: np.ndarray
    probabilities_KDHW: np.ndarray | None = None
    quality: CaseQuality | None = None
    entropy_DHW: np.ndarray | None = None
    disagreement_DHW: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Segmentation(Generic[Image]):
    """What a model says of one case, on the grid of the image, as images of the kind that the caller gave.

    `label` holds whole numbers, as uint8 where that holds them, else as uint16. Of the rest is None what was not asked for:
    `probabilities` with one channel per label, the `entropy` and the `disagreement` of the models. `quality` is what the
    quality control of the model expects of the mask, None where it has none.
    """

    label: Image
    probabilities: Image | None
    entropy: Image | None
    disagreement: Image | None
    prediction: Prediction
    in_dicom: DicomResults  # as which `save` writes an object of DICOM

    @property
    def quality(self) -> CaseQuality | None:
        return self.prediction.quality

    def save(self, path: str | Path, dicom: DicomKind = "seg") -> None:
        """Write the label on the grid of the image; the name of the file decides the format. `NAME.dcm` becomes an object of
        DICOM, a segmentation or a structure set (`dicom`), which refers to the series. Raises UserError where the case is no
        series, or the file cannot be written.
        """
        case, path = self.prediction.case, Path(path)
        results = case.results_in_dicom(replace(self.in_dicom, kind=dicom)) if is_dicom_name(path.name) else case.results
        results.write_label(path, self.prediction.label_DHW)


def as_images(prediction: Prediction, alike: Callable[[np.ndarray], Any], in_dicom: DicomResults) -> Segmentation[Any]:
    """The arrays of a prediction, of which `alike` makes images."""

    def image(array: np.ndarray | None) -> Any:
        return None if array is None else alike(np.asarray(array, np.float32))

    highest = int(prediction.label_DHW.max())
    label_DHW = prediction.label_DHW.astype(np.uint8 if highest <= np.iinfo(np.uint8).max else np.uint16)
    return Segmentation(alike(label_DHW), image(prediction.probabilities_KDHW), image(prediction.entropy_DHW),
                        image(prediction.disagreement_DHW), prediction, in_dicom)
