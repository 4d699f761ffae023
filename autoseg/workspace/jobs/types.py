"""What a job of the service is: what was asked for, how far it is, and what came of it.

These are the objects that the service writes into its database and gives to its clients.
"""

from typing import Literal

from pydantic import Field

from planners.schema.base import Frozen, versioned

# A job is queued when its files are whole on the disk. `question`: it waits for an answer of its client. `expired`: its
# files are removed. `done`, `failed`, `cancelled` and `expired` are final.
State = Literal["queued", "running", "question", "done", "failed", "cancelled", "expired"]
FINAL: tuple[State, ...] = ("done", "failed", "cancelled", "expired")

Stage = Literal["waiting", "loading", "reading", "predicting", "writing", "finished"]


class InputFile(Frozen):
    """A file of a job, by its number in the folder of its inputs. `channel` is empty for a file of a study.

    `shown` is the name that the client gave the file, without folders and unusual characters: it is shown, and names nothing
    on the disk.
    """

    number: int
    channel: str = ""
    shown: str = ""
    n_bytes: int
    ending: str  # what its first bytes say: .nii.gz, .nii, .nrrd, .mha, .dcm


class JobRequest(Frozen):
    """What a client asked for.

    `kind`: an image per channel, or the DICOM objects of one study. `row`: columns of the clinical table, None or absent:
    not known. `series`: channel -> SeriesInstanceUID, the client's answer where several series fit.
    """

    client: str
    model: str
    kind: Literal["images", "study"]
    files: tuple[InputFile, ...]
    row: dict[str, str | float | None] = Field(default_factory=dict)
    series: dict[str, str] = Field(default_factory=dict)
    modality: str = ""
    uncertainty: bool = True


class Progress(Frozen):
    """How far a job is: `fraction` of all stages from 0 to 1, `eta_seconds` until its end (None: not known)."""

    stage: Stage = "waiting"
    fraction: float = 0.0
    eta_seconds: float | None = None


class Problem(Frozen):
    """Why a job failed, in words: what, where, found, expected, and what to do (each may be empty)."""

    what: str
    where: str = ""
    found: str = ""
    expected: str = ""
    do: str = ""


class SeriesChoice(Frozen):
    """A series of a study, as the client chooses it."""

    uid: str
    number: str = ""
    description: str = ""
    modality: str = ""
    n_slices: int = 0


class Question(Frozen):
    """What only the client can say: which of these series is which channel."""

    text: str
    channels: dict[str, tuple[SeriesChoice, ...]]


class LabelVolume(Frozen):
    """What a mask holds of one label. `color` is #rrggbb."""

    name: str
    values: tuple[int, ...]
    color: str
    voxels: int
    volume_ml: float


class JobResult(Frozen):
    """What came of a job. `files` are the forms in which its result can be fetched, such as nifti, seg, rtstruct, stl, obj,
    entropy, disagreement. `present` and `absent` say what the prediction rests on: channels and columns.
    """

    schema_version: int = versioned(1)
    labels: tuple[LabelVolume, ...]
    spacing_mm: tuple[float, ...]
    shape: tuple[int, ...]
    files: tuple[str, ...]
    images: tuple[str, ...]  # channels that can be fetched as NIfTI
    present: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    predicted_dice: float | None = None  # by quality control; None: the model has none
    needs_review: bool | None = None
    model_identity: str = ""
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()


class Job(Frozen):
    """A job at one moment. Times are seconds since 1970 (UTC). `position`: how many jobs come before it; 0 when it runs."""

    id: str
    request: JobRequest
    state: State
    created: float
    started: float | None = None
    ended: float | None = None
    expires: float | None = None
    attempts: int = 0
    position: int = 0
    progress: Progress = Progress()
    problem: Problem | None = None
    question: Question | None = None
    result: JobResult | None = None
