"""What the file of the DICOM listener says: who may send, which model takes what, and where results go."""

import re
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from autoseg.serve.deliveries import DICOMWEB
from autoseg.workspace.files import read_model
from autoseg.workspace.jobs.deliveries import Form
from planners.schema.base import Frozen, versioned

_AE_TITLE = re.compile(r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?")  # printable, without backslash (DICOM PS3.5, 6.2)


class Peer(Frozen):
    """Another DICOM node: it may send from `host`, and takes results at `host` and `port`."""

    ae_title: str
    host: str
    port: int = Field(default=104, ge=1, le=65535)

    _check = field_validator("ae_title")(lambda title: _checked(title))


class Rule(Frozen):
    """Which studies a model takes: those from a calling AE, of a description that holds a text (empty: any). The result goes
    to `send_to`: a peer's AE title, `dicomweb`, or nowhere (empty).
    """

    model: str
    calling: str = ""
    description: str = ""
    send_to: str = ""
    form: Form = "seg"

    def takes(self, calling: str, description: str) -> bool:
        """Whether a study is for this rule. Upper and lower case of descriptions are the same."""
        return self.calling in ("", calling) and self.description.casefold() in description.casefold()


class ListenerSettings(Frozen):
    """A DICOM node of this service. The first rule that takes a study decides."""

    schema_version: int = versioned(1)
    ae_title: str
    port: int = Field(default=11112, ge=0, le=65535)
    host: str = "127.0.0.1"
    peers: tuple[Peer, ...] = Field(min_length=1)
    rules: tuple[Rule, ...] = Field(min_length=1)
    quiet_seconds: float = Field(default=30.0, ge=0)
    associations: int = Field(default=5, ge=1, le=100)

    _check = field_validator("ae_title")(lambda title: _checked(title))

    @model_validator(mode="after")
    def _names_are_known(self) -> "ListenerSettings":
        titles = [peer.ae_title for peer in self.peers]
        if len(set(titles)) != len(titles):
            raise ValueError("two peers have the same ae_title")
        for rule in self.rules:
            if rule.calling and rule.calling not in titles:
                raise ValueError(f"the rule of {rule.model!r} names the calling AE {rule.calling!r}, which is no peer")
            if rule.send_to and rule.send_to not in (*titles, DICOMWEB):
                raise ValueError(f"the rule of {rule.model!r} sends to {rule.send_to!r}, which is no peer")
        return self

    def rule_for(self, calling: str, description: str) -> Rule | None:
        """The first rule that takes a study; None where none does."""
        return next((rule for rule in self.rules if rule.takes(calling, description)), None)


def read_listener(path: Path) -> ListenerSettings:
    """The settings in a JSON file. Raises UserError where it is missing, or a key or a value is wrong."""
    return read_model(path, ListenerSettings)


def _checked(title: str) -> str:
    if not _AE_TITLE.fullmatch(title):
        raise ValueError(f"{title[:40]!r} is no AE title: 1 to 16 printable characters, without backslash")
    return title
