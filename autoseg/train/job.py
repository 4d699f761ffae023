"""What identifies one training, and the rooms of the disk it uses."""

from dataclasses import dataclass
from pathlib import Path

from autoseg.base.workspace import FoldFolder
from planners.plan import Configuration, Plan


@dataclass(frozen=True)
class FoldJob:
    """One fold of one configuration.

    `cases` is the folder of prepared cases; for a cascade `previous` is the folder of the earlier stage's predictions
    on the prepared grid. `validation` is empty for the fold `all`.
    """

    plan: Plan
    name: str  # of the configuration
    fold: int | str
    folder: FoldFolder
    cases: Path
    training: tuple[str, ...]
    validation: tuple[str, ...]
    seed: int = 0

    @property
    def configuration(self) -> Configuration:
        return self.plan.configurations[self.name]

    @property
    def title(self) -> str:
        return f"{self.plan.dataset} {self.name} fold {self.fold}"
