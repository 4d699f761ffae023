"""What DICOM headers say of the patient and the scanner, where no table says it: the conditions of studies to predict.

The columns are those that `autoseg_dicom convert` writes, by the same names, units and rules (`dicom_attributes`).
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from autoseg.base.errors import listed
from autoseg.clinical.cells import category_text, read_numbers
from autoseg.clinical.conditions import CaseConditions
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.dicom_attributes import KEYWORDS, case_cells
from autoseg.formats.dicom import DicomSource
from autoseg.formats.dicom.texts import read_header_texts
from planners.schema.channels import ChannelSpec
from planners.schema.conditions import ConditionSpec, ConditionTable

logger = logging.getLogger(__name__)


def cells_of_headers(files: CaseFiles, channels: Sequence[ChannelSpec]) -> dict[str, str]:
    """What the headers of a case say, by the columns of the clinical table; nothing of a case that is no DICOM.

    `channels` are those of `files.images`. Where they are not all that the dataset has, the seconds after the first image
    are left out: the first one may be missing. Raises UserError where a header cannot be read.
    """
    volumes = {source.path: source for source in files.sources if isinstance(source, DicomSource)}
    headers = {channel.name: read_header_texts(volumes[path].stack.slices[0].path, KEYWORDS)
               for channel, path in zip(channels, files.images, strict=True) if path in volumes}
    if not headers:
        return {}
    first = next((channel.name for channel in channels if channel.reference), channels[0].name)
    cells = case_cells(headers, headers.get(first, {}), exact_age=False)
    hidden = {f"{channel}_after_first_s" for channel in headers} if files.numbers else set()
    return {column: text for column, text in cells.items() if text and column not in hidden}


def with_headers(name: str, known: CaseConditions, cells: Mapping[str, str], table: ConditionTable) -> CaseConditions:
    """The conditions of a case, in which headers fill the columns that no table says. The log says what comes from where, by
    the names of the columns alone.
    """
    columns = {spec.name: spec for spec in table.specs if spec.name in known.values}
    of_headers = {column: value for column, spec in columns.items() if known.values[column] is None
                  and (value := _value(spec, cells.get(column, ""))) is not None}
    values = {**known.values, **of_headers}
    said = {"of the table": [column for column in columns if known.values[column] is not None],
            "of the DICOM headers": list(of_headers), "missing": [column for column in columns if values[column] is None]}
    logger.info("case %s: %s", name, "; ".join(f"{listed(names, len(names))} {source}" if source != "missing"
                                               else f"nothing says {listed(names, len(names))}"
                                               for source, names in said.items() if names))
    return replace(known, values=values)


def _value(spec: ConditionSpec, text: str) -> float | str | None:
    """A cell as the model takes it; None where it says nothing, or nothing of this kind."""
    if not text:
        return None
    if spec.kind == "number":
        (number,) = read_numbers([text])
        return None if number is None or (spec.transform == "log" and number <= 0) else number
    if spec.kind == "ordinal":
        return {category_text(rank): rank for rank in spec.order}.get(category_text(text))
    return category_text(text)
