"""Asks the registries, before work begins, whether they know the parts that a plan names."""

from typing import Any

from pydantic import ValidationError

from autoseg.base.errors import UserError
from planners.registry import Registry
from planners.schema.base import Part, complaints_of


def check_part(registry: Registry[Any, Any], part: Part, where: object) -> None:
    """A UserError for a part that is not registered (the known ones are listed) or that does not take its options."""
    try:
        registry.options(part.name, part.options)
    except KeyError as error:
        raise UserError(error.args[0], where=where,
                        do="correct the name, or name the module that registers it with --plugin") from None
    except ValidationError as error:
        known = ", ".join(registry.entry(part.name).options.model_fields) or "none"
        raise UserError(f"the options of {registry.kind} {part.name!r} are wrong", where=where, found=complaints_of(error),
                        expected=f"options: {known}") from None
