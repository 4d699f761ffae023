"""Fixtures of races."""

from pretended_race import configurations, home, trainings

__all__ = ["configurations", "home", "trainings"]
