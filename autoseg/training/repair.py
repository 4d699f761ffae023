"""What a training left and is damaged or gone now, from where else the same is written: its weights or its saved state.

Each function raises the DamagedFile where nothing else has it, and says in the log where it took it from.
"""

import logging
from typing import Any

from autoseg.base.errors import UserError
from autoseg.base.ranks import is_first
from autoseg.clinical.encoders import ConditionEncoder
from autoseg.prediction.trained_with import TrainedWith, trained_with
from autoseg.workspace.checkpoint import load_state, read_facts
from autoseg.workspace.files import DamagedFile, read_json, read_model, write_json
from autoseg.workspace.folders import FoldFolder
from planners.schema.plan import ResolvedSchedule

logger = logging.getLogger(__name__)

ENCODER = "encoder"  # in the facts of weights, and in the state of a training


def read_schedule(folder: FoldFolder) -> ResolvedSchedule:
    """The schedule of a training that was started; a file that is damaged or gone is written again, from the saved state or
    the result.
    """
    try:
        return read_model(folder.schedule, ResolvedSchedule)
    except UserError as error:
        saved = load_state(folder.state)
        known = read_json(folder.result)["schedule"] if folder.is_finished else None
        if saved is None and known is None:
            raise
        schedule = ResolvedSchedule.model_validate(known if saved is None else saved["train"]["schedule"])
        _warn(error)
        if is_first():
            write_json(folder.schedule, schedule)
        return schedule


def read_encoder(folder: FoldFolder) -> ConditionEncoder | None:
    """The encoder of a training that was started; None where nothing has one."""
    if not folder.encoder.is_file():
        known = _else(folder).get(ENCODER)
        return None if known is None else ConditionEncoder.model_validate(known)
    try:
        return read_model(folder.encoder, ConditionEncoder)
    except DamagedFile as error:
        known = _else(folder).get(ENCODER)
        if known is None:
            raise
        _warn(error)
        return ConditionEncoder.model_validate(known)


def read_started_with(folder: FoldFolder) -> TrainedWith | None:
    """What a training was started with; None where it was not started, or by an earlier version."""
    if folder.is_trained:
        return trained_with(read_facts(folder.checkpoint), folder.checkpoint)
    if not (folder.is_started and folder.started_with.is_file()):
        return None
    try:
        return read_model(folder.started_with, TrainedWith)
    except DamagedFile as error:
        known = trained_with(_else(folder), folder.state)
        if known is None:
            raise
        _warn(error)
        return known


def _else(folder: FoldFolder) -> dict[str, Any]:
    """What the weights say, or the saved state where there are none yet."""
    return read_facts(folder.checkpoint) if folder.is_trained else load_state(folder.state) or {}


def _warn(error: UserError) -> None:
    logger.warning("taken from the weights or the saved state: %s", error)
