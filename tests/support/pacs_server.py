"""A small server of DICOMweb in a thread: studies of files in memory, and what broken servers do."""

import json
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from threading import Event, Thread
from urllib.parse import parse_qs, urlsplit


class Archive:
    """What the server holds, and what it was asked. `fault` is how it misbehaves; `holds` is set once it leaves a client
    without an answer for this reason.
    """

    def __init__(self):
        self.studies, self.stored, self.headers, self.fault = {}, [], [], ""
        self.holds = Event()
        self.series = {}  # series -> study, of which nothing but this is known

    def add(self, study, paths):
        self.studies.setdefault(study, []).extend(path.read_bytes() for path in paths)


def _listed(study, contents):
    import pydicom

    first = pydicom.dcmread(BytesIO(contents[0]), stop_before_pixels=True)
    return {"0020000D": {"vr": "UI", "Value": [study]}, "00100020": {"vr": "LO", "Value": [first.PatientID]},
            "00080020": {"vr": "DA", "Value": [first.StudyDate]}, "00080061": {"vr": "CS", "Value": [first.Modality]},
            "00201208": {"vr": "IS", "Value": [len(contents)]}}


class _Handler(BaseHTTPRequestHandler):
    archive: Archive

    def log_message(self, *_):
        pass

    def do_GET(self):
        archive, parts = self.archive, urlsplit(self.path)
        archive.headers.append(dict(self.headers))
        if archive.fault == "500":
            self._answer(500, b"<html>fault</html>", "text/html")
        elif archive.fault == "html":
            self._answer(200, b"<html>log in</html>", "text/html")
        elif archive.fault == "redirect":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.2:9/elsewhere")
            self.end_headers()
        elif archive.fault == "endless":
            self._endless()
        elif parts.path.endswith("/instances"):
            uid = parse_qs(parts.query)["SOPInstanceUID"][0]
            self._json([{"00080018": {"vr": "UI", "Value": [uid]}}] if uid in map(_instance_of, archive.stored) else [])
        elif parts.path == "/dicom-web/series":
            self._json([{"0020000E": {"vr": "UI", "Value": [series]}, "0020000D": {"vr": "UI", "Value": [study]}}
                        for series, study in archive.series.items()])  # it ignores conditions, as some servers do
        elif parts.path == "/dicom-web/studies":
            patient = parse_qs(parts.query).get("PatientID")
            entries = [_listed(*entry) for entry in archive.studies.items()]
            self._json([entry for entry in entries if not patient or entry["00100020"]["Value"] == patient])
        else:
            self._study(parts.path.rpartition("/")[2])

    def do_POST(self):
        archive = self.archive
        content = self._body()
        archive.headers.append(dict(self.headers))
        if archive.fault == "500":
            self._answer(500, b"", "text/plain")
            return
        message = BytesParser().parsebytes(f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode("ascii") + content)
        if archive.fault == "no answer, not stored":
            self._hold()
            return
        archive.stored += [part.get_payload(decode=True) for part in message.get_payload()]
        if archive.fault == "no answer, stored":
            self._hold()
            return
        if archive.fault == "lost answer":
            archive.fault = ""
            self.connection.close()
            return
        self._json({})

    def _study(self, study):
        if study not in self.archive.studies:
            self._answer(404, b"", "text/plain")
            return
        body = b"".join(b"\r\n--edge\r\nContent-Type: application/dicom\r\n\r\n" + content
                        for content in self.archive.studies[study]) + b"\r\n--edge--\r\n"
        body = body[:-400] if self.archive.fault == "cut" else body
        self._answer(200, body, 'multipart/related; type="application/dicom"; boundary="edge"')

    def _endless(self):
        self.send_response(200)
        self.send_header("Content-Type", 'multipart/related; type="application/dicom"; boundary="edge"')
        self.end_headers()
        try:
            self.wfile.write(b"--edge\r\nContent-Type: application/dicom\r\n\r\n")
            while True:
                self.wfile.write(bytes(2**16))
        except OSError:
            pass

    def _hold(self):
        """Keep the connection open without an answer, until the client is gone."""
        self.archive.holds.set()
        self.connection.recv(1)

    def _body(self):
        if "Content-Length" in self.headers:
            return self.rfile.read(int(self.headers["Content-Length"]))
        content = b""
        while size := int(self.rfile.readline(), 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _json(self, value):
        self._answer(200, json.dumps(value).encode(), "application/dicom+json")

    def _answer(self, status, body, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _instance_of(content):
    import pydicom

    return str(pydicom.dcmread(BytesIO(content), stop_before_pixels=True).SOPInstanceUID)


@contextmanager
def pacs_server():
    """The archive of a running server and its address."""
    archive = Archive()
    handler = type("Handler", (_Handler,), {"archive": archive})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield archive, f"http://127.0.0.1:{server.server_port}/dicom-web"
    finally:
        server.shutdown()
        server.server_close()
