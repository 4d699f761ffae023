"""Reads a Dockerfile, and does its steps in a folder where there is no Docker.

A stage is a folder that stands for its root. Absolute paths below the folders that this project's steps use are moved into
it; commands that change users are noted and not run.
"""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

PLACES = ("opt", "src", "wheels", "model", "workspace")  # folders of a stage that steps name by absolute paths
USERS = ("groupadd", "useradd", "chown")  # what only root can do


@dataclass(frozen=True)
class Step:
    verb: str  # FROM, ARG, ENV, WORKDIR, COPY, RUN, USER, CMD
    text: str


@dataclass(frozen=True)
class Stage:
    name: str
    base: str  # an image, or the name of an earlier stage
    steps: tuple[Step, ...]


def stages_of(path: Path) -> tuple[tuple[Step, ...], list[Stage]]:
    """The steps before the first stage, and the stages in their order."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    steps = []
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        verb, _, rest = line.strip().partition(" ")
        if verb:
            steps.append(Step(verb.upper(), rest.strip()))
    starts = [number for number, step in enumerate(steps) if step.verb == "FROM"]
    stages = []
    for start, stop in zip(starts, [*starts[1:], len(steps)], strict=True):
        base, _, name = steps[start].text.partition(" AS ")
        stages.append(Stage(name, base, tuple(steps[start + 1:stop])))
    return tuple(steps[:starts[0]]), stages


@dataclass
class Build:
    """The stages that were built, each a folder below `root`."""

    context: Path
    root: Path
    arguments: dict[str, str]
    environment: dict[str, str]  # of every RUN step, in place of an image's own
    environments: dict[str, dict[str, str]] = field(default_factory=dict)
    noted: list[str] = field(default_factory=list)  # what was not run
    commands: dict[str, list[str]] = field(default_factory=dict)  # CMD by stage
    users: dict[str, str] = field(default_factory=dict)

    def build(self, stages: list[Stage], target: str) -> Path:
        """The folder of a stage, after all that it is made from."""
        by_name = {stage.name: stage for stage in stages}
        stage, folder = by_name[target], self.root / target
        if folder.exists():
            return folder
        if stage.base in by_name:
            shutil.copytree(self.build(stages, stage.base), folder, symlinks=True)
        else:
            folder.mkdir(parents=True)
        arguments: dict[str, str] = {}
        known = dict(self.environments.get(stage.base, {}))
        directory = folder
        for step in stage.steps:
            text = _expanded(step.text, {**arguments, **known}) if step.verb in ("ARG", "COPY", "WORKDIR") else step.text
            if step.verb == "ARG":
                name, _, default = text.partition("=")
                arguments[name] = self.arguments.get(name, default)
            elif step.verb == "ENV":
                known |= dict(word.split("=", 1) for word in text.split())
            elif step.verb == "WORKDIR":
                directory = folder / text.strip("/")
                directory.mkdir(parents=True, exist_ok=True)
            elif step.verb == "COPY":
                self._copy(stages, text, folder, directory)
            elif step.verb == "RUN":
                self._run(text, folder, directory, {**arguments, **known})
            elif step.verb == "USER":
                self.users[target] = text
            elif step.verb == "CMD":
                self.commands[target] = json.loads(text)
            else:
                raise ValueError(f"this step is not understood: {step}")
        self.environments[target] = known
        return folder

    def inside(self, stage: str) -> dict[str, str]:
        """The environment of a command in a stage, with paths of its folder."""
        root = self.root / stage
        known = {name: _moved(value, root) for name, value in self.environments[stage].items() if name != "PATH"}
        return {**self.environment, **known, "PATH": f"{root}/opt/autoseg/bin:{self.environment['PATH']}"}

    def _copy(self, stages: list[Stage], text: str, folder: Path, directory: Path) -> None:
        words = text.split()
        source = self.context
        if words[0].startswith("--from="):
            source = self.build(stages, words.pop(0).removeprefix("--from="))
        *names, target = words
        place = folder / target.strip("/") if target.startswith("/") else directory / target
        for name in names:
            path = source / name.strip("/")
            if source == self.context and is_ignored(self.context, name):
                raise FileNotFoundError(f"{name} is not in the context: .dockerignore leaves it out")
            if path.is_dir():
                shutil.copytree(path, place, dirs_exist_ok=True, symlinks=True,
                                ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
            else:
                into = place / path.name if target.endswith("/") or place.is_dir() else place
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, into)

    def _run(self, text: str, folder: Path, directory: Path, known: dict[str, str]) -> None:
        words = text
        for command in USERS:
            for found in re.findall(rf"(?:^|&& )({command} [^&]*)", words):
                self.noted.append(found.strip())
                words = words.replace(found, "true ")
        environment = {**self.environment, **{name: value for name, value in known.items() if name != "PATH"}}
        done = subprocess.run(["/bin/sh", "-ec", _moved(words, folder)], cwd=directory, env=environment, capture_output=True,
                              text=True)
        if done.returncode:
            raise RuntimeError(f"RUN {text}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def is_ignored(context: Path, name: str) -> bool:
    """Whether .dockerignore leaves a file of the context out; the last pattern that fits decides."""
    ignored, top = False, name.strip("./").split("/")[0]
    for line in (context / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith("#") and fnmatch(top, pattern.lstrip("!").removeprefix("**/")):
            ignored = not pattern.startswith("!")
    return ignored


def _moved(text: str, folder: Path) -> str:
    return re.sub(rf"(?<![\w./:])/({'|'.join(PLACES)})(?=[/\s\"'*:)]|$)", rf"{folder}/\1", text)


def _expanded(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\$\{(\w+)\}", lambda found: values.get(found[1], ""), text)


def plain_environment() -> dict[str, str]:
    """The variables of this process that a build needs here: where programs and installed packages are."""
    kept = ("PATH", "LANG", "TMPDIR", "HOME", "OMP_NUM_THREADS", "NODE_EXTRA_CA_CERTS")
    return {name: os.environ[name] for name in kept if name in os.environ}
