"""A folder that one process holds alone."""

import os
import socket
import subprocess
import sys

import pytest

from autoseg.base.errors import UserError
from autoseg.workspace.locks import locked


def test_who_comes_second_is_told_who_holds_the_folder(tmp_path):
    holder = f"another process works here .found: process {os.getpid()} on {socket.gethostname()}"
    with locked(tmp_path / "fold_0"), pytest.raises(UserError, match=holder), locked(tmp_path / "fold_0"):
        pass


def test_what_a_killed_process_held_is_free(tmp_path):
    code = ("import os, signal, sys\nfrom pathlib import Path\nfrom autoseg.workspace.locks import locked\n"
            "with locked(Path(sys.argv[1])):\n    os.kill(os.getpid(), signal.SIGKILL)\n")
    subprocess.run([sys.executable, "-c", code, tmp_path / "fold_0"], check=False)
    assert (tmp_path / ".fold_0.lock").is_file()
    with locked(tmp_path / "fold_0"):
        pass
