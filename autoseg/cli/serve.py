"""autoseg_serve: answer requests for segmentations over HTTP."""

import argparse
import sys
from pathlib import Path

from autoseg.cli import common

_DESCRIPTION = ("Serve the models of the workspace over HTTP, with a page to look at images and results.\n"
                "It answers on this machine alone unless --host says otherwise, which needs --tokens. Ctrl-C or SIGTERM "
                "stops it:\nthe queue is kept for the next start, and a job that ran then runs again.")


def parser() -> argparse.ArgumentParser:
    command = common.parser(_DESCRIPTION, "example: autoseg_serve; then open http://localhost:8000")
    command.add_argument("--host", default="127.0.0.1", metavar="ADDRESS",
                         help="address to answer on (default: 127.0.0.1, this machine alone)")
    command.add_argument("--port", type=_port, default=8000, metavar="N", help="port (default: 8000)")
    command.add_argument("--tokens", type=Path, metavar="FILE",
                         help="file with a line `name token` for each client, which nobody else may read; needed beyond "
                              "this machine")
    command.add_argument("--spool", type=Path, metavar="DIR",
                         help="folder for jobs and their files (default: serve in the workspace)")
    command.add_argument("-m", "--model", type=Path, action="append", default=[], metavar="FILE",
                         help="a model in one file (autoseg_export_model) to serve, too; may be repeated")
    command.add_argument("--device", default="auto", metavar="LIST",
                         help="devices, a worker process for each: auto, cpu, cuda, or cuda:0,cuda:1 (default: auto)")
    _add_limits(command)
    command.add_argument("--collect", default="", metavar="D",
                         help="raw dataset that takes corrected labels as new cases (default: none are taken)")
    command.add_argument("--dicomweb", default="", metavar="URL", help="DICOMweb server to fetch studies from and store to")
    command.add_argument("--dicom_listener", type=Path, metavar="FILE",
                         help="JSON file of a DICOM node that takes studies by C-STORE (docs/how-to/pacs.md)")
    command.add_argument("--training", action="store_true", help="let clients start and stop the training of folds")
    return command


def _add_limits(command: argparse.ArgumentParser) -> None:
    limits = command.add_argument_group("limits")
    limits.add_argument("--upload", type=common.memory, metavar="SIZE", help="of one job, as sent (default: 2G)")
    limits.add_argument("--unpacked", type=common.memory, metavar="SIZE", help="of one job, unpacked (default: 8G)")
    limits.add_argument("--queue", type=common.positive, metavar="N", help="waiting jobs of all clients (default: 200)")
    limits.add_argument("--queue_per_client", type=common.positive, metavar="N", help="those of a client (default: 20)")
    limits.add_argument("--rate", type=common.positive, metavar="N", help="requests of a client per minute (default: 600)")
    limits.add_argument("--job_time", type=common.seconds, metavar="TIME", help="of one job (default: 1h)")
    limits.add_argument("--keep", type=common.seconds, metavar="TIME",
                        help="how long results are kept after a job has ended (default: 24h)")
    limits.add_argument("--keep_inputs", type=common.seconds, metavar="TIME",
                        help="how long what a client sent is kept then, for another model (default: 1h)")


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> None:
    from autoseg.serve.run import address_of, serve
    from autoseg.serve.settings import Limits, ServeSettings
    from autoseg.workspace.names import Workspace
    from autoseg.workspace.tokens import read_tokens

    home = Workspace.open(options.home).home
    said = {"upload_bytes": options.upload, "unpacked_bytes": options.unpacked, "queued": options.queue,
            "queued_per_client": options.queue_per_client, "requests_per_minute": options.rate,
            "job_seconds": options.job_time, "result_hours": None if options.keep is None else options.keep / 3600,
            "input_hours": None if options.keep_inputs is None else options.keep_inputs / 3600}
    settings = ServeSettings(
        spool=(options.spool or home / "serve").absolute(), home=home, host=options.host, port=options.port,
        tokens={} if options.tokens is None else read_tokens(options.tokens), devices=tuple(options.device.split(",")),
        model_files=tuple(path.absolute() for path in options.model), collect=options.collect, dicomweb=options.dicomweb,
        dicom_listener=options.dicom_listener, training=options.training,
        limits=Limits(**{name: value for name, value in said.items() if value is not None}))
    serve(settings, lambda n_models: print(f"{n_models} models; open {address_of(settings)}; Ctrl-C stops", flush=True))


def _port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535, found {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
