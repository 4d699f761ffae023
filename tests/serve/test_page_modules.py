"""The parts of the page that need no browser, under Node's own test runner."""

import shutil
import subprocess

import pytest

from autoseg.serve.routes.page import PAGES

PAGE = PAGES.parent


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_tests_of_the_pages_modules_pass():
    files = sorted(str(path.relative_to(PAGE)) for path in (PAGE / "test").glob("*.test.js"))
    assert files
    ran = subprocess.run(["node", "--test", *files], cwd=PAGE, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout[-4000:]
