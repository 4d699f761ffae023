"""A predictor in another process: it is opened there again, as it was opened here.

Weights are read there and not sent: they would be copied through a pipe, and those on a GPU cannot be.
"""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from autoseg.base.errors import UserError
from autoseg.workspace.names import Workspace

P = ParamSpec("P")
Opened = TypeVar("Opened")


def reopenable(opening: Callable[Concatenate[Any, P], Opened]) -> Callable[Concatenate[Any, P], Opened]:
    """Wraps the method that opens a predictor: its arguments are kept in `opened_with`, with absolute paths."""

    @functools.wraps(opening)
    def open_and_keep(owner: Any, *words: P.args, **named: P.kwargs) -> Opened:
        predictor = opening(owner, *words, **named)
        arguments: dict[str, Any] = {**({"folder": words[0]} if words else {}), **named}
        if arguments.get("folder") is not None:
            arguments["folder"] = Path(arguments["folder"]).absolute()
        else:  # another process may have another environment
            arguments["home"] = Workspace.open(arguments.get("home")).home
        predictor.opened_with = arguments  # type: ignore[attr-defined]
        return predictor

    return open_and_keep


def how_to_reopen(predictor: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """For `pickle`: what opens the predictor again. Raises UserError for one that was made in memory."""
    if predictor.opened_with is None:
        raise UserError("this predictor cannot be sent to another process: its models were made in memory",
                        found=predictor.name, do="open it with Predictor.open, or once in each process")
    return _reopened, (type(predictor).open, predictor.opened_with, predictor.adaptation, predictor.identity)


def _reopened(opening: Callable[..., Any], opened_with: Mapping[str, Any], adaptation: Any, identity: str) -> Any:
    predictor = opening(**opened_with)
    predictor = predictor if adaptation is None else predictor.adapting(adaptation)
    if predictor.identity != identity:
        raise UserError("the models were changed since the predictor was sent here", where=predictor.name,
                        do="open it again with Predictor.open")
    return predictor
