"""Warns when a training has learned to predict nothing."""

_COLLAPSED = 1e-3  # a mean foreground Dice below this is an empty prediction
_LEARNED = 0.1
_PATIENCE = 0.2  # share of the training after which a Dice that never left zero is worth a warning


class Watchdog:
    """Watches the mean foreground Dice of the epochs."""

    def __init__(self) -> None:
        self._best = 0.0
        self._warned = False

    def warning(self, mean_dice: float | None, progress: float) -> str:
        """A warning at the first epoch that shows a collapse, else an empty string.

        `mean_dice` is None where no foreground was seen; `progress` is the share of the training that is done.
        """
        if mean_dice is None:
            return ""
        fallen = self._best > _LEARNED and mean_dice < _COLLAPSED
        never = self._best < _COLLAPSED and mean_dice < _COLLAPSED and progress >= _PATIENCE
        self._best = max(self._best, mean_dice)
        if self._warned or not (fallen or never):
            return ""
        self._warned = True
        history = f"it fell to zero from {self._best:.2f}" if fallen else f"it is zero after {progress:.0%} of the training"
        return (f"the model predicts no foreground: {history}; check the labels with autoseg_verify, or start again with a "
                f"lower rate (--restart --set schedule.learning_rate=...) or more foreground (--restart --set "
                f"schedule.foreground_share=0.67)")
