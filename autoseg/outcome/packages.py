"""Packages of the extra `outcome`, which are imported where they are used."""

import importlib
from typing import Any

from autoseg.base.errors import UserError


def package(name: str, purpose: str) -> Any:
    """A package or a module of it, such as `xgboost`. A UserError says what it is for, and how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{purpose} needs the package {name.split('.')[0]}, which cannot be imported", found=error,
                        do="install it: pip install 'autoseg-pipeline[outcome]'") from error
