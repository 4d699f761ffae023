"""A process that is asked to stop, with real signals to this one and to small others."""

import os
import signal
import subprocess
import sys
import time

import pytest

from autoseg.base.stopping import Stopped, is_asked_to_stop, postponed, resumable, stoppable


def sent(number):
    os.kill(os.getpid(), number)
    time.sleep(0)  # the handler runs between two steps of Python


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_each_signal_stops_with_the_status_that_shells_give_it(name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stop, stoppable():
        sent(number)
    assert stop.value.status == 128 + number
    assert signal.getsignal(number) is before


def test_a_stop_is_postponed_to_where_it_is_good_to_stop():
    reached = []
    with pytest.raises(Stopped), stoppable(), postponed():
        sent(signal.SIGTERM)
        reached.append(is_asked_to_stop())
    assert reached == [True] and not is_asked_to_stop()


def test_a_second_sigterm_changes_nothing():
    with pytest.raises(Stopped) as stop, stoppable(), postponed():
        sent(signal.SIGTERM)
        sent(signal.SIGTERM)
    assert stop.value.number is signal.SIGTERM


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stoppable():
            sent(signal.SIGHUP)
            assert not is_asked_to_stop()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_is_resumable_goes_on():
    with pytest.raises(Stopped) as stop, stoppable(), resumable():
        sent(signal.SIGINT)
    assert stop.value.is_resumable


SECOND = """
import os, signal, sys, time
from pathlib import Path
from autoseg.base.stopping import stoppable, unfinished
half = Path(sys.argv[1])
half.write_text("half")
with stoppable(), unfinished(half.unlink):
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(20)
    except KeyboardInterrupt:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(20)
"""


def test_another_ctrl_c_ends_the_process_at_once_and_leaves_no_unfinished_file(tmp_path):
    done = subprocess.run([sys.executable, "-c", SECOND, str(tmp_path / "half")], capture_output=True, text=True, timeout=15)
    assert (done.returncode, done.stderr, list(tmp_path.iterdir())) == (130, "", [])


ORPHAN = """
import subprocess, sys, time
from autoseg.base.stopping import ends_with_this_process
import os
child = '''
import time
from autoseg.base.stopping import Stopped, stop_with_parent, stoppable
stop_with_parent()
try:
    with stoppable():
        print("started", flush=True)
        time.sleep(30)
except Stopped as stop:
    print("stopped", stop.number.name, flush=True)
'''
subprocess.Popen([sys.executable, "-c", child], env={**os.environ, **ends_with_this_process()})
time.sleep(30)
"""


def test_a_child_stops_when_its_parent_was_killed():
    parent = subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "started\n"
    parent.kill()
    assert parent.stdout.read() == "stopped SIGTERM\n"  # it ends, else this would wait
    parent.wait()
