"""The client class of MONAI Label against a running `autoseg_serve`: its calls, and whether masks are `autoseg_predict`'s.

    python benchmarks/monailabel_client.py ../shared/models/nnunet_2.8.1_Dataset004 ../shared/data
    python benchmarks/monailabel_client.py MODEL DATA --client-python PYTHON

MODEL holds a results folder of nnU-Net, DATA the raw dataset. The model is imported into a temporary workspace. Without
`--client-python`, an interpreter that has `monailabel` and `requests`, an environment of its own is made with pip:
monailabel without its dependencies. Its client needs Python 3.12 or earlier. Prints Markdown; a difference ends the script
with status 1.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from autoseg.datasets.integrity import verify  # noqa: E402
from autoseg.formats import read_label  # noqa: E402
from autoseg.workspace.names import Workspace  # noqa: E402

NAME, TOKEN = "Dataset004_Hippocampus", "a-token-of-the-benchmark"
_CLIENT = """
import json, os, sys, time
from monailabel.client.client import MONAILabelClient, MONAILabelClientException
url, token, model, image, work = sys.argv[1:]
seen = {"masks": {}, "seconds": {}}

class Plugin:  # the plug-in of Slicer makes a client for each call: one that logged in keeps the headers of its last upload
    def __getattr__(self, name):
        client = MONAILabelClient(url, tmpdir=work, client_id="benchmark")
        client.update_auth(login)
        return getattr(client, name)

client, login = Plugin(), None

def timed(name, call):
    start = time.perf_counter()
    answer = call()
    seen["seconds"][name] = time.perf_counter() - start
    return answer

def infer(name, image_id, ending, **more):
    file, params = timed(name, lambda: client.infer(model, image_id, {"result_extension": ending}, **more))
    seen["masks"][name] = os.path.join(work, name.replace(" ", "_") + ending)
    os.replace(file, seen["masks"][name])
    return params

def is_refused(call):
    try:
        call()
    except MONAILabelClientException:
        return True
    return False

seen["login is asked for"] = client.auth_enabled() and is_refused(client.info)
login = client.auth_token("anna", token)
seen["token is valid"] = client.auth_valid_token()
seen["info"] = timed("info", client.info)
seen["label names"] = infer("infer, file, NRRD", "", ".nrrd", file=image)["label_names"]
infer("infer, file, NIfTI", "", ".nii.gz", file=image)
session = timed("create session", lambda: client.create_session(image))["session_id"]
seen["session is there"] = timed("get session", lambda: client.get_session(session))["name"] == session
infer("infer, session", "shown only", ".nrrd", session_id=session)
client.remove_session(session)
seen["removed session is gone"] = is_refused(lambda: client.get_session(session))
seen["case"] = timed("upload image", lambda: client.upload_image(image, "My volume"))["image"]
seen["next sample"] = client.next_sample("random", {})["id"] == seen["case"]
infer("infer, image of the datastore", "My volume", ".nii.gz")
label = seen["masks"]["infer, image of the datastore"]
info = {"label_info": [{"name": name, "idx": value} for name, value in seen["label names"].items()]}
timed("save label", lambda: client.save_label("My volume", label, params=info))
seen["datastore"] = timed("datastore", client.datastore)["objects"]
seen["masks"]["download label"] = timed("download label", lambda: client.download_label(seen["case"], "final"))
seen["no sample is left"] = client.next_sample("random", {}) == {}
seen["no training runs"] = client.train_status(check_if_running=True) is False
seen["training is refused"] = is_refused(lambda: client.train_start(model, {}))
print(json.dumps(seen))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--client-python", type=Path, metavar="PYTHON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(compare(options, Path(folder)))


def compare(options: argparse.Namespace, folder: Path) -> int:
    client = options.client_python or environment(folder / "client")
    home, work = folder / "home", folder / "work"
    work.mkdir()
    run("import_model", "nnunet", str(options.model), "--home", str(home))
    case = sorted((options.model / "predicted").glob("*.nii.gz"))[0].name.removesuffix(".nii.gz")
    image = options.data / NAME / "imagesTr" / f"{case}_0000.nii.gz"
    run("predict", "-i", str(image), "-o", str(folder / "masks"), "-d", NAME, "--home", str(home))
    expected_DHW, expected_grid = read_label(folder / "masks" / f"{case}.nii.gz")
    with open(folder / "tokens", "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(f"anna {TOKEN}\n")
    port = free_port()
    service = subprocess.Popen([sys.executable, "-m", "autoseg.cli.serve", "--home", str(home), "--port", str(port),
                                "--tokens", str(folder / "tokens"), "--collect", "Corrections", "--device", "cpu"], cwd=ROOT)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(f"{url}/health", service)
        answer = subprocess.run([str(client), "-c", _CLIENT, url, TOKEN, NAME, str(image), str(work)], check=True,
                                stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": ""})
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(60)
    seen = json.loads(answer.stdout)
    same = {name: bool(np.array_equal(read_label(Path(path))[0], expected_DHW)
                       and not read_label(Path(path))[1].difference(expected_grid)) for name, path in seen["masks"].items()}
    workspace = Workspace.open(home)
    dataset = workspace.raw(workspace.dataset("Corrections"))
    report = verify(dataset)
    facts = {name: value for name, value in seen.items() if isinstance(value, bool)}
    facts["model is listed with its labels"] = bool(seen["info"]["models"].get(NAME, {}).get("labels"))
    facts["the label is in the datastore"] = "final" in seen["datastore"][seen["case"]]["labels"]
    facts["the collected dataset is verified without faults"] = not report.faults and report.n_cases == 1
    print_tables(case, seen["seconds"], same, facts)
    left = [path for path in (home / "serve").rglob("*") if path.is_file() and not path.name.startswith("jobs.sqlite")]
    print(f"\nFiles left in the spool: {len(left)}. Voxels: {expected_DHW.size}, of which {np.count_nonzero(expected_DHW)} "
          "are labelled.")
    return int(not (all(same.values()) and all(facts.values())) or bool(left))


def environment(folder: Path) -> Path:
    """An interpreter with the client of MONAI Label."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    for packages in (["--no-deps", "monailabel"], ["requests"]):
        subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
    return python


def run(command: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", f"autoseg.cli.{command}", *arguments], check=True, cwd=ROOT,
                   stdout=subprocess.DEVNULL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, service: "subprocess.Popen[bytes]") -> None:
    for _ in range(600):
        if service.poll() is not None:
            raise SystemExit("the service has ended")
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the service does not answer")


def print_tables(case: str, seconds: dict[str, float], same: dict[str, bool], facts: dict[str, bool]) -> None:
    print(f"| call, {case} | seconds | mask equals autoseg_predict's |\n|---|---|---|")
    for name, took in seconds.items():
        print(f"| {name} | {took:.2f} | {'' if name not in same else 'every voxel' if same[name] else 'NO'} |")
    print("\n| what | holds |\n|---|---|")
    for name, holds in facts.items():
        print(f"| {name} | {'yes' if holds else 'NO'} |")


if __name__ == "__main__":
    main()
