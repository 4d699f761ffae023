"""One part of a folder of cases, where several processes or machines share it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from autoseg.base.errors import UserError
from autoseg.datasets.case import CaseFiles


@dataclass(frozen=True)
class Shard:
    """Part `number`, from 1, of `n`. A case belongs to one part by its place in the order of the names, so that all
    processes agree whatever order the files come in.
    """

    number: int
    n: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """The part of a text such as `1/4`; a UserError for anything else."""
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        part = cls(int(match[1]), int(match[2])) if match else None
        if part is None or not 1 <= part.number <= part.n:
            raise UserError("this is no part of a folder", found=text, expected="K/N with K from 1 to N, such as 1/4",
                            do="start N processes, the first with 1/N and the last with N/N")
        return part

    @property
    def is_first(self) -> bool:
        return self.number == 1

    def cases_of(self, cases: Sequence[CaseFiles]) -> list[CaseFiles]:
        """The cases of this part, none where there are more parts than cases."""
        return sorted(cases, key=lambda case: case.name)[self.number - 1 :: self.n]

    def __str__(self) -> str:
        return f"{self.number}/{self.n}"
