"""50 uploads at once from 8 clients, 5 that break off and 5 that are hostile: who is answered, with how much memory, and
what is left on the disk.

    python benchmarks/service_hostile.py --home WORKSPACE --model Dataset004_Hippocampus IMAGE

The descriptions of all addresses are tested with schemathesis, which has an environment of its own, on the same service:

    python -m venv st && st/bin/pip install schemathesis
    autoseg_serve --home WORKSPACE --rate 1000000 --queue 100000 --queue_per_client 100000
    st/bin/schemathesis run http://localhost:8000/openapi.json --max-examples 400 --continue-on-failure --checks \\
        not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\\
response_schema_conformance,unsupported_method,use_after_free
"""

import argparse
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil

N_UPLOADS, N_CLIENTS, N_BROKEN = 50, 8, 5
BOMB_MIB = 1500
FINAL = ("done", "failed", "cancelled", "expired")


class Memory:
    """The largest resident memory of a process, looked at ten times a second, in MiB."""

    def __init__(self, process: psutil.Process):
        self.first = self.most = process.memory_info().rss / 2**20
        self._process, self._stop = process, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            self.most = max(self.most, self._process.memory_info().rss / 2**20)

    def end(self) -> None:
        self._stop.set()
        self._thread.join()


def upload(url: str, model: str, image: bytes, number: int) -> tuple[int, str]:
    """Status and id of a job of one of the clients; who gets 429 sends it again."""
    headers = {"X-Client": f"client-{number % N_CLIENTS}"}
    while True:
        answer = httpx.post(f"{url}/v1/jobs", data={"model": model}, files={"files": (f"{number}.nii.gz", image)},
                            headers=headers, timeout=300)
        if answer.status_code != 429:
            return answer.status_code, answer.json().get("id", "")
        time.sleep(1)


def finished(url: str, job_id: str, number: int) -> str:
    """The state in which a job ended, and `no mask` where it has none; the job is removed."""
    headers = {"X-Client": f"client-{number % N_CLIENTS}"}
    while (state := httpx.get(f"{url}/v1/jobs/{job_id}", headers=headers).json()["state"]) not in FINAL:
        time.sleep(1)
    if state == "done" and httpx.get(f"{url}/v1/jobs/{job_id}/result/nifti", headers=headers).status_code != 200:
        state = "no mask"
    httpx.delete(f"{url}/v1/jobs/{job_id}", headers=headers)
    return state


def zip_bomb() -> bytes:
    """A zip that unpacks to more than the service takes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a", "w") as entry:
        for _ in range(BOMB_MIB):
            entry.write(bytes(2**20))
    return stream.getvalue()


def break_off(port: int) -> None:
    """Send the beginning of an upload of 100 MB, and go away."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        head = ("POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
                "Content-Length: 100000000\r\n\r\n--x\r\nContent-Disposition: form-data; name=\"files\"; filename=\"a\"\r\n"
                "\r\n")
        connection.sendall(head.encode() + os.urandom(3_000_000))


def hostile(url: str, port: int, model: str, image: bytes, bomb: bytes) -> dict[str, str]:
    """What each hostile request is answered."""
    def post(name: str, content: bytes) -> str:
        answer = httpx.post(f"{url}/v1/jobs", data={"model": model}, files={"files": (name, content)}, timeout=300,
                            headers={"X-Client": "hostile"})
        body = answer.json()
        if answer.status_code == 202:
            httpx.delete(f"{url}/v1/jobs/{body['id']}", headers={"X-Client": "hostile"})
            return f"202, shown as {body['request']['files'][0]['shown']!r}"
        return f"{answer.status_code} {body['error']['what']}"

    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
                           b"Content-Length: 10737418240\r\n\r\n")
        claimed = connection.recv(2**16).split(b"\r\n")[0].decode()
    return {f"zip bomb, {len(bomb) >> 10} KiB for {BOMB_MIB} MiB": post("bomb.zip", bomb),
            "path in a name": post("../../../../etc/cron.d/evil", image),
            "HTML named .nii.gz": post("a.nii.gz", b"<html>" * 99),
            "10 GiB claimed": claimed, "script in a name": post("<script>alert(1)</script>.nii.gz", image)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("image", type=Path)
    options = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, image = f"http://127.0.0.1:{port}", options.image.read_bytes()
    with tempfile.TemporaryDirectory() as spool:
        service = subprocess.Popen([sys.executable, "-m", "autoseg.cli.serve", "--home", options.home, "--port", str(port),
                                    "--spool", spool, "--rate", "1000000", "--unpacked", "1G"],
                                   stdout=subprocess.PIPE, text=True)
        assert service.stdout is not None and service.stdout.readline()
        try:
            measure(url, port, options.model, image, Path(spool), psutil.Process(service.pid))
        finally:
            service.terminate()
            service.wait()


def measure(url: str, port: int, model: str, image: bytes, spool: Path, service: psutil.Process) -> None:
    while httpx.get(f"{url}/health").status_code != 200:
        time.sleep(0.1)
    bomb = zip_bomb()
    memory, started = Memory(service), time.perf_counter()
    with ThreadPoolExecutor(N_UPLOADS + N_BROKEN + 1) as pool:
        uploads = [pool.submit(upload, url, model, image, number) for number in range(N_UPLOADS)]
        broken = [pool.submit(break_off, port) for _ in range(N_BROKEN)]
        refused = pool.submit(hostile, url, port, model, image, bomb)
        answers = [job.result() for job in uploads]
        accepted = time.perf_counter() - started
        for job in broken:
            job.result()
        states = list(pool.map(lambda entry: finished(url, entry[1][1], entry[0]), enumerate(answers)))
    seconds = time.perf_counter() - started
    memory.end()
    left = sorted(str(path.relative_to(spool)) for path in spool.rglob("*") if path.is_file()
                  and "sqlite" not in path.name and path.name != ".jobs.lock")  # held while the service runs
    folders = [path.name for path in (spool / "jobs").iterdir() if path.is_dir()]
    print("| what | result |\n|---|---|")
    print(f"| uploads accepted | {sum(status == 202 for status, _ in answers)} of {N_UPLOADS} in {accepted:.1f} s |")
    print(f"| of them done with a mask | {states.count('done')} in {seconds:.0f} s |")
    print(f"| memory of the service before, at most | {memory.first:.0f}, {memory.most:.0f} MiB |")
    print(f"| files and folders of jobs left | {json.dumps(left + folders) if left or folders else 'none'} |")
    for what, answer in refused.result().items():
        print(f"| {what} | {answer} |")


if __name__ == "__main__":
    main()
