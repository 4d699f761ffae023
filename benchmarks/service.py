"""Measures a running service over HTTP: what a kill -9 costs, whether memory grows, how much faster a resident model is.

    python benchmarks/service.py kill --kills 20      # accepted jobs are done once, and nothing else is left
    python benchmarks/service.py many --jobs 500      # memory of the service and of its worker
    python benchmarks/service.py resident -d 4 --home HOME --image CASE_0000.nii.gz    # of a trained model

Each prints a Markdown table, and ends with status 1 where its target is missed. `kill` and `many` use a network that has
learned nothing, and images of 20 x 18 x 16 voxels.
"""

import argparse
import gzip
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

import httpx
import nibabel
import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "tests" / "support"))

from worker_support import NAME, write_model  # noqa: E402 (it is beside the tests)

KINDS, WARM_UP, MARGIN, SHARE = 4, 50, 0.05, 1 / 3
FINAL = ("done", "failed", "cancelled", "expired", "question")


@dataclass
class Served:
    """A service that runs, or ran."""

    home: Path
    spool: Path
    port: int = field(default_factory=lambda: free_port())
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "autoseg.cli.serve", "--home", self.home, "--spool", self.spool, "--port",
                   self.port, "--device", "cpu", "--rate", 10**6, "--queue", 10**5, "--queue_per_client", 10**5]
        log = open(self.home / "log.txt", "ab")  # noqa: SIM115 (the process keeps it)
        self.process = subprocess.Popen([str(word) for word in command], env=environment, stdout=log, stderr=log,
                                        start_new_session=True)
        log.close()

    def client(self, name: str = "anna") -> httpx.Client:
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers={"X-Client": name}, timeout=60)

    def wait(self) -> None:
        """Until it answers."""
        with self.client() as client:
            while True:
                with suppress(httpx.TransportError):
                    if client.get("/health").status_code == 200:
                        return
                if self.process is not None and self.process.poll() is not None:
                    sys.exit(f"the service ended:\n{(self.home / 'log.txt').read_text()[-3000:]}")
                time.sleep(0.05)

    def kill(self) -> None:
        """As `kill -9`: the service alone; its worker has to notice."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)


@contextmanager
def served(home: Path, spool: Path) -> Iterator[Served]:
    service = Served(home, spool)
    service.start()
    try:
        service.wait()
        yield service
    finally:
        service.stop()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def image(kind: int) -> bytes:
    """A small compressed NIfTI file."""
    voxels = np.random.default_rng(kind).normal(size=(16, 18, 20)).astype(np.float32)
    return gzip.compress(nibabel.Nifti1Image(voxels, np.eye(4)).to_bytes(), 1)


def ask(client: httpx.Client, content: bytes, model: str = NAME) -> str:
    answer = client.post("/v1/jobs", data={"model": model}, files=[("files", ("image.nii.gz", content))])
    answer.raise_for_status()
    return str(answer.json()["id"])


def ended(client: httpx.Client, job_id: str) -> dict:
    """The job once it has ended."""
    while (job := client.get(f"/v1/jobs/{job_id}").json())["state"] not in FINAL:
        time.sleep(0.03)
    return job


def digest(client: httpx.Client, job_id: str) -> str:
    """Of the voxels of a mask; the file holds no time."""
    content = client.get(f"/v1/jobs/{job_id}/result/nifti").raise_for_status().content
    return blake2b(gzip.decompress(content), digest_size=8).hexdigest()


class Feeder:
    """Sends jobs as long as the service answers, and remembers those that it accepted."""

    def __init__(self, service: Served, pause: float):
        self.service, self.pause = service, pause
        self.accepted: dict[str, int] = {}
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.feed, daemon=True)

    def feed(self) -> None:
        kind = 0
        while not self.stopped.wait(self.pause):
            kind = (kind + 1) % KINDS
            with suppress(httpx.HTTPError), self.service.client(f"client-{kind}") as client:
                self.accepted[ask(client, image(kind))] = kind


def kill(options: argparse.Namespace, folder: Path) -> bool:
    write_model(folder)
    service, rng = Served(folder, folder / "spool"), np.random.default_rng(options.seed)
    feeder = Feeder(service, options.pause)
    feeder.thread.start()
    seen: dict[str, float] = {}  # jobs that were done, and when
    for number in range(options.kills):
        service.start()
        # Half of the moments are while it starts, the others while it works.
        if number % 2:
            service.wait()
        time.sleep(rng.uniform(0, options.longest))
        seen |= done_by_now(service)
        service.kill()
    feeder.stopped.set()
    feeder.thread.join()
    service.start()
    service.wait()
    try:
        return report_kills(options, service, feeder, seen)
    finally:
        service.stop()


def done_by_now(service: Served) -> dict[str, float]:
    """The jobs that the service says are done, and when they ended; none where it does not answer yet."""
    found: dict[str, float] = {}
    with suppress(httpx.HTTPError):
        for kind in range(KINDS):
            with service.client(f"client-{kind}") as client:
                found |= {job["id"]: job["ended"] for job in client.get("/v1/jobs").json()["jobs"] if job["state"] == "done"}
    return found


def report_kills(options: argparse.Namespace, service: Served, feeder: Feeder, seen: dict[str, float]) -> bool:
    states, attempts, masks, again = Counter(), Counter(), set(), 0
    for job_id, kind in feeder.accepted.items():
        with service.client(f"client-{kind}") as client:
            job = ended(client, job_id)
            states[job["state"]] += 1
            attempts[job["attempts"]] += 1
            again += job_id in seen and job["ended"] != seen[job_id]
            if job["state"] == "done":
                masks.add((kind, digest(client, job_id)))
    known = sum(len(jobs_of(service, kind)) for kind in range(KINDS))
    for kind in range(KINDS):  # of requests whose answer was lost with the service there may be more
        with service.client(f"client-{kind}") as client:
            for job_id in jobs_of(service, kind):
                ended(client, job_id)
                client.delete(f"/v1/jobs/{job_id}").raise_for_status()
    left = sorted(path.name for path in (service.spool / "jobs").iterdir())
    print("| what | figure |\n|---|---|")
    rows = {"kills": options.kills, "jobs that were accepted": len(feeder.accepted),
            "of these done": states["done"], "done, then done again": again,
            "kinds of images, and of masks": f"{KINDS}, {len(masks)}",
            "attempts: jobs": ", ".join(f"{n}: {attempts[n]}" for n in sorted(attempts)),
            "jobs accepted whose answer was lost": known - len(feeder.accepted),
            "folders left after all were removed": len(left)}
    print("\n".join(f"| {name} | {value} |" for name, value in rows.items()))
    return states["done"] == len(feeder.accepted) > 0 and not again and not left and len(masks) == len(
        {kind for kind, _ in masks})


def jobs_of(service: Served, kind: int) -> list[str]:
    with service.client(f"client-{kind}") as client:
        return [job["id"] for job in client.get("/v1/jobs").json()["jobs"]]


def many(options: argparse.Namespace, folder: Path) -> bool:
    write_model(folder)
    with served(folder, folder / "spool") as service, service.client() as client:
        assert service.process is not None
        own = psutil.Process(service.process.pid)
        rows: list[tuple[float, ...]] = []
        started = time.monotonic()
        print("| jobs | service [MiB] | worker [MiB] | handles of both | seconds |\n|---|---|---|---|---|")
        for number in range(1, WARM_UP + options.jobs + 1):
            job_id = ask(client, image(number % KINDS))
            job = ended(client, job_id)
            if job["state"] != "done":
                sys.exit(f"job {number} {job['state']}: {job['problem']}")
            digest(client, job_id)
            client.delete(f"/v1/jobs/{job_id}")
            if number >= WARM_UP and (number - WARM_UP) % options.every == 0:
                (worker,) = own.children()
                rows.append((memory(own), memory(worker), own.num_fds() + worker.num_fds()))
                print(f"| {number - WARM_UP} | {rows[-1][0]:.1f} | {rows[-1][1]:.1f} | {rows[-1][2]} | "
                      f"{time.monotonic() - started:.0f} |", flush=True)
    growth = [last / first - 1 for first, last in zip(rows[0], rows[-1], strict=True)]
    print(f"after {WARM_UP} jobs: service {growth[0]:+.1%}, worker {growth[1]:+.1%}, handles {growth[2]:+.1%}")
    return max(growth) <= MARGIN


def memory(process: psutil.Process) -> float:
    return float(process.memory_full_info().uss) / 2**20


def resident(options: argparse.Namespace, folder: Path) -> bool:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    seconds: dict[str, list[float]] = {"command": [], "first job": [], "later jobs": []}
    command = [sys.executable, "-m", "autoseg.cli.predict", "-i", options.image, "-d", options.dataset, "--home",
               options.home, "--device", "cpu", "--save_uncertainty"]
    for number in range(options.repeats):
        started = time.monotonic()
        subprocess.run([str(word) for word in [*command, "-o", folder / str(number) / "mask.nii.gz"]], env=environment,
                       check=True, capture_output=True)
        seconds["command"].append(time.monotonic() - started)
    content = options.image.read_bytes()
    with served(options.home, folder / "spool") as service, service.client() as client:
        while any(worker["state"] == "dead" for worker in client.get("/health").json()["workers"]):
            time.sleep(0.1)
        names = [model["name"] for model in client.get("/v1/models").json()["models"]]
        for number in range(options.repeats + 1):
            started = time.monotonic()
            job = ended(client, ask(client, content, names[0]))
            if job["state"] != "done":
                sys.exit(f"{job['state']}: {job['problem']}")
            seconds["later jobs" if number else "first job"].append(time.monotonic() - started)
        served_mask = gzip.decompress(client.get(f"/v1/jobs/{job['id']}/result/nifti").content)
    own = np.asarray(nibabel.load(folder / "0" / "mask.nii.gz").dataobj)
    same = np.array_equal(own, np.asarray(nibabel.Nifti1Image.from_bytes(served_mask).dataobj))
    command_s = float(np.median(seconds["command"]))
    print(f"{names[0]}, {options.image.name}\n\n| what | seconds (median) | of the command's |\n|---|---|---|")
    for name, values in seconds.items():
        print(f"| {name} | {np.median(values):.2f} | {np.median(values) / command_s:.2f} |")
    print(f"the masks are {'equal' if same else 'NOT equal'}")
    return same and float(np.median(seconds["later jobs"])) <= SHARE * command_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    killing = kinds.add_parser("kill")
    killing.add_argument("--kills", type=int, default=20)
    killing.add_argument("--longest", type=float, default=6.0, help="seconds until a kill, at most")
    killing.add_argument("--pause", type=float, default=0.5, help="seconds between two jobs")
    killing.add_argument("--seed", type=int, default=0)
    lasting = kinds.add_parser("many")
    lasting.add_argument("--jobs", type=int, default=500)
    lasting.add_argument("--every", type=int, default=50)
    staying = kinds.add_parser("resident")
    staying.add_argument("-d", "--dataset", required=True)
    staying.add_argument("--home", type=Path, required=True)
    staying.add_argument("--image", type=Path, required=True)
    staying.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure = {"kill": kill, "many": many, "resident": resident}[options.kind]
        sys.exit(not measure(options, Path(folder)))


if __name__ == "__main__":
    main()
