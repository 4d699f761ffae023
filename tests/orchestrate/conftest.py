"""Fixtures of races."""

from pretended_race import configurations, home, spheres, trainings

__all__ = ["configurations", "home", "spheres", "trainings"]
