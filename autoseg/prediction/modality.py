"""The modality of the cases to predict, where a model takes several in one channel."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from autoseg.clinical.conditions import CaseConditions
from autoseg.clinical.encoders import ConditionEncoder
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.modalities import KnownModalities, modalities_to_predict
from planners.schema.channels import modality_of_cell
from planners.schema.plan import Plan

logger = logging.getLogger(__name__)


def files_with_modalities(cases: Sequence[CaseFiles], plan: Plan, *, folder: Path, table: Path | None, said: str
                          ) -> KnownModalities:
    """The cases with their modalities, as `modalities_to_predict`; unchanged where each channel of the plan has one."""
    if plan.modality_columns:
        return modalities_to_predict(cases, plan.channels, plan.modality_columns, plan.conditions, folder=folder,
                                     table=table, said=said)
    if said:
        logger.warning("--modality %s is not used: no channel of this model has several modalities", said)
    return KnownModalities(tuple(cases))


def conditions_with_modality(cases: Mapping[str, CaseConditions], plan: Plan, encoders: Sequence[ConditionEncoder], said: str
                             ) -> dict[str, CaseConditions]:
    """The conditions of cases, in which the modality that is said for all of them fills the column that no table fills.

    It is written as the encoders know it from the training table, where they know one spelling of this modality.
    """
    columns = set(plan.modality_columns.values())
    if not said:
        return dict(cases)
    filled = {}
    for name, conditions in cases.items():
        missing = {column: _spelled(said, column, encoders) for column in columns
                   if column in conditions.values and conditions.values[column] is None}
        filled[name] = replace(conditions, values={**conditions.values, **missing})
    return filled


def _spelled(said: str, column: str, encoders: Sequence[ConditionEncoder]) -> str:
    known = {category for encoder in encoders for part in encoder.parts if part.kind == "category" and part.name == column
             for category in (*part.categories, *part.rare) if modality_of_cell(category) == modality_of_cell(said)}
    return said if said in known or len(known) != 1 else known.pop()
