"""How a service starts, and what it refuses to start with."""

import socket

import pytest

pytest.importorskip("fastapi")
from autoseg.base.errors import UserError
from autoseg.serve.run import address_of, bound, check_safe
from autoseg.serve.settings import ServeSettings
from autoseg.workspace.tokens import read_tokens


def settings_of(tmp_path, **changes):
    return ServeSettings(spool=tmp_path / "spool", home=tmp_path, **changes)


def token_file(tmp_path, text, mode=0o600):
    path = tmp_path / "tokens"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::", "gpu.hospital.example"])
def test_a_service_that_other_machines_reach_needs_tokens(tmp_path, host):
    with pytest.raises(UserError, match="needs tokens.*--tokens FILE"):
        check_safe(settings_of(tmp_path, host=host))
    check_safe(settings_of(tmp_path, host=host, tokens={"a" * 32: "anna"}))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_a_service_on_this_machine_alone_needs_none(tmp_path, host):
    check_safe(settings_of(tmp_path, host=host))
    assert address_of(settings_of(tmp_path, host=host)) == "http://localhost:8000"


def test_tokens_are_read_with_the_names_of_their_owners(tmp_path):
    path = token_file(tmp_path, "# ours\nanna aaaaaaaaaaaaaaaa\n\nbert bbbbbbbbbbbbbbbbbbbb\n")
    assert read_tokens(path) == {"aaaaaaaaaaaaaaaa": "anna", "bbbbbbbbbbbbbbbbbbbb": "bert"}


@pytest.mark.parametrize(("text", "mode", "told"), [
    ("anna aaaaaaaaaaaaaaaa", 0o640, "others may read.*mode 640.*chmod 600"),
    ("anna aaaaaaaaaaaaaaaa", 0o604, "others may read"),
    ("anna short", 0o600, "line 1: a line"),
    ("\nanna aaaaaaaaaaaaaaaa x", 0o600, "line 2: a line"),
    ("", 0o600, "holds none"),
    ("a/b aaaaaaaaaaaaaaaa", 0o600, "line 1: a line"),
    ("a aaaaaaaaaaaaaaaa\nb aaaaaaaaaaaaaaaa", 0o600, "twice.*that of a")])
def test_a_wrong_file_of_tokens_is_refused_and_no_token_is_told(tmp_path, text, mode, told):
    with pytest.raises(UserError, match=told) as raised:
        read_tokens(token_file(tmp_path, text, mode))
    assert "aaaaaaaa" not in str(raised.value)


def test_a_file_of_tokens_that_is_missing_is_said_with_how_to_make_one(tmp_path):
    with pytest.raises(UserError, match="cannot be read.*token_urlsafe"):
        read_tokens(tmp_path / "none")


def test_an_address_that_is_taken_is_said(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=rf"127.0.0.1, port {port}: the service cannot answer"), bound(
                settings_of(tmp_path, port=port)):
            pass
