"""`light`: a network with at most a tenth of the parameters of `classic`, for prediction on a CPU.

Grids, patches, batch, recipe and augmentation are chosen as `budgeted` chooses them; so a prediction mirrors along
left-right alone. What a case costs beside `classic` is measured by benchmarks/light.py (docs/decisions/0037).
"""

from planners.budgeted import Size, planned_to_time
from planners.classic import classic
from planners.rules.pooling import pooling
from planners.schema.fingerprint import Fingerprint
from planners.schema.hardware import Budget, Hardware
from planners.schema.plan import Configuration, Plan

SHARE = 0.1  # of the parameters of `classic`
FIRST = (16, 8)  # channels at full resolution; the second where no patch could be seen long enough with the first
LARGEST = range(160, 0, -16)  # channels of the deepest stages, from the widest down


def light(fingerprint: Fingerprint, hardware: Hardware, budget: Budget) -> Plan:
    """The widest network with a tenth of the parameters of `classic`, planned to the time as `budgeted` does."""
    published = classic(fingerprint, hardware, budget).configurations

    def sizes(name: str, base: Configuration) -> tuple[Size, ...]:
        most = SHARE * _parameters(published.get(name, base), fingerprint)
        return tuple(_widest(first, base, most, fingerprint) for first in FIRST)

    plan = planned_to_time("light", sizes, fingerprint, hardware, budget)
    return plan.model_copy(update={"reasons": (
        *plan.reasons, f"light: at most {SHARE:.0%} of the parameters of classic, for a short prediction on a CPU")})


def _widest(first: int, base: Configuration, most: float, fingerprint: Fingerprint) -> Size:
    """The widest size with these channels at full resolution and no more than so many parameters; else the narrowest."""
    shape = pooling(base.spacing_mm, base.patch)
    sizes = [Size(block="plain", features=(first,), largest=largest, blocks_encoder=(2,), convs_decoder=1)
             for largest in LARGEST]
    fitting = (size for size in sizes
               if _parameters(base.model_copy(update={"architecture": size.unet(shape)}), fingerprint) <= most)
    return next(fitting, sizes[-1])


def _parameters(configuration: Configuration, fingerprint: Fingerprint) -> int:
    architecture, inputs = configuration.architecture, len(fingerprint.channels)
    return architecture.cost(configuration.patch, inputs, fingerprint.labels.n_heads).parameters
