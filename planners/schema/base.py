"""The base of every boundary object: frozen, strict about unknown keys, written as JSON."""

from typing import Any, ClassVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator

FILE_DIGEST = "file_digest"  # the last key of a boundary object in its file: the digest of all its other keys


class Frozen(BaseModel):
    """A value that cannot change and refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _without_digest(cls, data: Any) -> Any:
        """The data of a file without the digest that files carry: who reads one as JSON need not know of it."""
        if isinstance(data, dict) and FILE_DIGEST in data:
            return {key: value for key, value in data.items() if key != FILE_DIGEST}
        return data
    is_edited_by_people: ClassVar[bool] = False  # whether a file of it that was changed since it was written is used


class Part(Frozen):
    """The choice of one registered part: its name and the values of its options."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


def versioned(newest: int) -> Any:
    """The field `schema_version` of what is written to a file. A later one is refused, also within another object: its keys
    may mean something else.
    """
    return Field(default=newest, ge=1, le=newest)


def formerly(name: str, old_name: str) -> AliasChoices:
    """The `validation_alias` of a field that files of an earlier version call `old_name`."""
    return AliasChoices(name, old_name)


def complaints_of(error: ValidationError) -> str:
    """Every wrong key or value of a boundary object, with its place, in one line."""
    return "; ".join(f"{'.'.join(map(str, complaint['loc']))}: {complaint['msg']}" for complaint in error.errors())
