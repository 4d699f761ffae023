"""What a service is started with: its limits, who may use it, and what it offers."""

from pathlib import Path

from pydantic import Field

from planners.schema.base import Frozen


class Limits(Frozen):
    """What one request, one client and the whole service may take."""

    upload_bytes: int = 2 * 2**30  # of one job, all files together, as sent
    unpacked_bytes: int = 8 * 2**30  # of one job, after decompression
    files: int = 20000  # of one job
    queued_per_client: int = 20
    queued: int = 200
    job_seconds: float = 3600.0
    requests_per_minute: int = 600  # of one client
    result_hours: float = 24.0
    input_hours: float = 1.0  # after the end of a job, for another model or a correction
    attempts: int = 2  # a job whose worker died is tried so often


class ServeSettings(Frozen):
    """The settings of `autoseg_serve`. `tokens` maps each bearer token to the name of its owner; empty: no token is asked
    for, which only a service bound to this machine may do.
    """

    spool: Path
    home: Path
    host: str = "127.0.0.1"
    port: int = 8000
    tokens: dict[str, str] = Field(default_factory=dict)
    devices: tuple[str, ...] = ("auto",)  # a worker process for each
    model_files: tuple[Path, ...] = ()  # models in one file, beside those of the workspace
    limits: Limits = Limits()
    collect: str = ""  # the raw dataset that takes corrections; empty: none are taken
    dicomweb: str = ""  # URL of a DICOMweb server
    dicom_listener: Path | None = None  # a JSON file: which DICOM nodes send what, and where results go
    training: bool = False  # whether folds can be started and stopped


class WorkerSettings(Frozen):
    """What a worker process is started with, by its standard input."""

    name: str
    spool: Path
    home: Path
    model_files: tuple[Path, ...] = ()
    device: str = "auto"
    job_seconds: float
    result_seconds: float
    attempts: int
    plugins: tuple[str, ...] = ()
