"""Builds the page of the service where npm is, then everything that setup.cfg says."""

import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PAGE = Path(__file__).resolve().parent / "autoseg" / "serve" / "page"
BUILT = PAGE / "dist" / "index.html"
SECONDS = 300


def is_current() -> bool:
    """Whether the page was built after the last change of what it is built from."""
    sources = [path for folder in ("src", "licences") for path in (PAGE / folder).rglob("*") if path.is_file()]
    sources += [PAGE / name for name in ("package.json", "package-lock.json", ".npmrc", "build.mjs")]
    return BUILT.is_file() and BUILT.stat().st_mtime >= max(path.stat().st_mtime for path in sources)


def build_page() -> str:
    """Builds the page; a sentence that says why it was not built, empty where it is there."""
    npm = shutil.which("npm")
    if is_current():
        return ""
    if npm is None:
        return "npm was not found"
    try:
        for words in (["ci"], ["run", "build"]):
            subprocess.run([npm, *words], cwd=PAGE, check=True, timeout=SECONDS, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout or "").strip().splitlines()
        return f"npm failed: {lines[-1] if lines else error}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"npm failed: {error}"
    return ""


class BuildWithPage(build_py):
    """build_py, after the page is there to be packed. Without the page the package is whole but for it."""

    def run(self) -> None:
        reason = build_page()
        if reason:
            print(f"The page of autoseg_serve is not built: {reason}. Its API works without the page; "
                  "see docs/how-to/viewer.md.", file=sys.stderr)
        self.__dict__.pop("data_files", None)  # listed before the page was there
        super().run()


setup(cmdclass={"build_py": BuildWithPage})
