"""A warning when a training predicts nothing."""

from autoseg.training.watchdog import Watchdog


def test_a_fall_to_zero_is_reported_once():
    dog = Watchdog()
    assert dog.warning(0.6, 0.1) == ""
    assert "fell to zero from 0.60" in dog.warning(0.0, 0.2)
    assert dog.warning(0.0, 0.3) == ""


def test_a_dice_that_never_left_zero_is_reported_after_a_fifth():
    dog = Watchdog()
    assert dog.warning(0.0, 0.1) == ""
    assert "zero after 20%" in dog.warning(0.0, 0.2)


def test_a_slow_start_is_no_collapse():
    dog = Watchdog()
    assert [dog.warning(dice, progress) for dice, progress in ((0.01, 0.1), (0.05, 0.3), (0.3, 0.5))] == [""] * 3


def test_epochs_without_foreground_say_nothing():
    assert Watchdog().warning(None, 0.9) == ""
