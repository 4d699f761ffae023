"""The inputs beside the images."""

from typing import Literal

from planners.schema.base import Frozen


class ConditionSpec(Frozen):
    """One input beside the images: a column of the clinical table, or one vector or bag of tokens per case.

    `width` is the number of features, None until the data were measured. Only what is available at `baseline` may
    condition a model. `order` ranks the values of an ordinal column; `folder` holds one file per case (vectors, tokens).
    """

    name: str
    kind: Literal["number", "category", "ordinal", "vector", "tokens"]
    width: int | None = None
    available_at: str = "baseline"
    transform: Literal["none", "log"] = "none"
    order: tuple[str, ...] = ()
    folder: str = ""


class ConditionTable(Frozen):
    """Inputs beside the images: a table with one row per case or patient, and files, one per case.

    The column `id` holds the name of a case (`match` is `exact`), the beginning of the names of a patient's cases
    (`prefix`), or what the only group of the regular expression `pattern` finds in the name of a case.
    """

    table: str = ""  # relative to the dataset's folder; empty: none
    id: str = "case"
    match: Literal["exact", "prefix", "pattern"] = "exact"
    pattern: str = ""
    specs: tuple[ConditionSpec, ...] = ()


class ConditionStats(Frozen):
    """What the cases have of one condition. `mean` and `std` are of numbers (after the transform), else None."""

    name: str
    missing: float  # share of the cases
    distinct: int  # values, of columns; 0 for vectors and tokens
    mean: float | None = None
    std: float | None = None
