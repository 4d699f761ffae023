"""A predictor in another process: it opens its models again, from the folders that they were opened from.

Weights are read there and not sent: under `spawn` they would be copied through a pipe, and those on a GPU cannot be.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autoseg.base.errors import UserError
from autoseg.prediction.member import ConfigurationModel
from autoseg.workspace.folders import ModelFolder


@dataclass(frozen=True)
class OpenedMember:
    """What opens a configuration again."""

    folder: ModelFolder
    folds: tuple[str, ...]
    device: str
    mirroring: bool
    skip_background: bool
    adaptation: Any

    def opened(self) -> ConfigurationModel:
        """The configuration, opened again. Raises UserError where its folder is gone, or this machine has no such device."""
        member = ConfigurationModel.open(self.folder, folds=self.folds, device=self.device, mirroring=self.mirroring,
                                         skip_background=self.skip_background)
        return member if self.adaptation is None else member.adapting(self.adaptation)


def opened_members(members: Sequence[ConfigurationModel]) -> tuple[OpenedMember, ...]:
    """What opens these configurations again; a UserError where one was made in memory."""
    opened = []
    for member in members:
        if member.folder is None:
            raise UserError("this predictor cannot be sent to another process: its models were made in memory",
                            found=member.name, do="open it from a folder with Predictor.open, or once in each process")
        opened.append(OpenedMember(member.folder, member.folds, str(member.runtime.device), member.mirroring,
                                   member.skip_background, member.adaptation))
    return tuple(opened)
