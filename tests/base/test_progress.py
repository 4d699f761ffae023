"""Bars where there is no standard error, or one that is no terminal."""

import io
import sys

import pytest

from autoseg.base.progress import inner_bar, on_terminal, progress


class Bare:
    """What a window of a graphical program puts in place of standard error."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stream", [None, closed(), Bare(), io.StringIO()])
def test_items_come_whatever_standard_error_is(stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream)
    assert not on_terminal()
    assert list(progress([1, 2, 3], "label", 3)) == [1, 2, 3]
    with inner_bar("label", "tile", 1) as show:
        show(1, 2)


def test_an_object_without_flush_and_isatty_gets_the_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Bare())
    list(progress([1, 2, 3], "label", 3))
    assert "3/3" in sys.stderr.text
