"""The clinical table and `dataset.json` of a converted dataset."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg.datasets.dicom_attributes import case_cells, declared_columns, study_day
from autoseg.interop.dicom_dataset.case import FILE_ENDING, CaseResult
from autoseg.interop.dicom_dataset.channels import Channels
from autoseg.interop.dicom_dataset.pseudonyms import Pseudonyms
from autoseg.interop.dicom_dataset.structures import StructureTable
from autoseg.interop.dicom_dataset.studies import CaseStudy
from autoseg.interop.tables import ID, NAME, Rows, as_csv
from autoseg.workspace.files import write_json, write_text
from autoseg.workspace.names import DATASET_JSON

CONVERTED_BY = "autoseg_dicom convert"
_IDENTIFIERS = {"patient_id": "PatientID", "study_uid": "StudyInstanceUID", "study_date": "StudyDate",
                "institution": "InstitutionName"}


@dataclass(frozen=True)
class DatasetContent:
    """What `dataset.json` says of all cases."""

    name: str
    channels: Channels
    table: StructureTable | None


def rows_of_studies(studies: Mapping[str, CaseStudy], reference: str, pseudonyms: Pseudonyms, *, keep_identifiers: bool
                    ) -> Rows:
    """The row of each case. Dates become days since the patient's first study."""
    rows: Rows = {}
    days: dict[str, dict[str, int]] = {}
    for case, study in studies.items():
        headers = study.headers
        header = headers[reference]
        name = header.get("InstitutionName", "")
        cells = {"patient": study.patient if keep_identifiers else pseudonyms.patient(study.patient),
                 "site": name if keep_identifiers else pseudonyms.site(name)}
        cells |= case_cells(headers, header, exact_age=keep_identifiers)
        if keep_identifiers:
            cells |= {column: header.get(keyword, "") for column, keyword in _IDENTIFIERS.items()}
        rows[case] = cells
        day = study_day(header)
        if day is not None:
            days.setdefault(cells["patient"], {})[case] = day
    for seen in days.values():
        for case, day in seen.items():
            if len(seen) > 1:
                rows[case]["days_since_first_study"] = str(day - min(seen.values()))
    used = {column for row in rows.values() for column, text in row.items() if text}
    return {case: {column: text for column, text in row.items() if column in used} for case, row in rows.items()}


def write_identities(path: Path, studies: Mapping[str, CaseStudy]) -> None:
    """Who each case is, as a table to be kept apart from the dataset."""
    rows = {case: {"patient": study.patient, "study_uid": study.uid, "study_date": study.date}
            for case, study in studies.items()}
    write_text(path, as_csv(rows))


def write_descriptions(content: DatasetContent, rows: Rows, results: Mapping[str, CaseResult], folder: Path) -> None:
    """Write the table, and `dataset.json` last: it says that the others are whole."""
    write_text(folder / NAME, as_csv(rows))
    table = content.table
    labels = {"labels": {"background": 0, "unlabelled": 1}} if table is None else table.declared()
    said: dict[str, Any] = {
        "name": content.name, "description": f"{content.name}, converted from DICOM", "converted_by": CONVERTED_BY,
        "channel_names": {str(number): channel for number, channel in enumerate(content.channels.names)}, **labels,
        "numTraining": len(rows), "file_ending": FILE_ENDING}
    optional: dict[str, Any] = {
        "optional_channels": [spec.name for spec in content.channels.specs if not spec.required],
        "reference_channel": content.channels.names[content.channels.reference] if len(content.channels.specs) > 1 else "",
        "labels_present": _labels_present(table, results), "groups": _groups(rows)}
    conditions = {"table": NAME, "id": ID, "columns": declared_columns(rows, content.channels.names)}
    write_json(folder / DATASET_JSON, {**said, "conditions": conditions,
                                       **{key: value for key, value in optional.items() if value}})


def _labels_present(table: StructureTable | None, results: Mapping[str, CaseResult]) -> dict[str, Sequence[str]]:
    """The labels of each case in which some were not drawn: nobody knows whether they are there."""
    if table is None:
        return {}
    return {case: list(result.present) for case, result in results.items() if set(result.present) < set(table.labels)}


def _groups(rows: Rows) -> dict[str, str]:
    """Folds must not tear patients apart. Without a hospital's name the scanner stands for the site."""
    has_site = any(row.get("site") for row in rows.values())
    has_scanner = any(row.get("scanner") for row in rows.values())
    site = "site" if has_site else "scanner" if has_scanner else ""
    return {"patient": "patient", **({"site": site} if site else {})}
