"""Raw conditions of a patient -> numbers for a network, by an encoder fitted on a fold's training cases only."""

from planners.base import Frozen


class ConditionInput(Frozen):
    """One input of a model beside the images.

    A column or vector is the entries `start` to `start + width` of the encoded values; a token bag (`start` None) has
    `width` features a token.
    """

    name: str
    width: int
    start: int | None = None


class Layout(Frozen):
    """The inputs of a model beside the images, in order."""

    inputs: tuple[ConditionInput, ...] = ()

    @property
    def n_values(self) -> int:
        """Encoded values of all columns and vectors together."""
        return sum(one.width for one in self.inputs if one.start is not None)

    @property
    def bags(self) -> tuple[ConditionInput, ...]:
        """The inputs that are bags of tokens."""
        return tuple(one for one in self.inputs if one.start is None)


NO_CONDITIONS = Layout()
