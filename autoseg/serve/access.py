"""Who may ask what: tokens, addresses, other sites, rates, sizes. It stands before all routes, also those of other files.

It is plain ASGI, since bodies and answers stream through it.
"""

import asyncio
import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from starlette.requests import ClientDisconnect

from autoseg.base.errors import visible
from autoseg.base.memory import size
from autoseg.serve.problems import as_response, problem_of, refused
from autoseg.serve.settings import ServeSettings
from autoseg.workspace.jobs.types import Problem

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOCAL = "local"  # the owner of requests to a service without tokens
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
# What is read before a token is typed; it says nothing of patients.
_OPEN = re.compile(r"/|/datasets|/health|/openapi\.json|/static/.*|/auth/|/auth/token"
                   r"|/v1/reports/[0-9a-f]{32}")  # the last: an address that is itself a secret, and worth one look
_STREAMED = re.compile(r"/v1/jobs|/v1/jobs/[^/]+/correction|/infer/.*|/datastore/.*|/session/.*")  # bodies that are not held
_MOST_BODY = 2**20  # bytes of any other request
_MOST_FORM = 2**20  # bytes of an upload beside its files: names, headers, fields
_READS = {"GET", "HEAD", "OPTIONS"}
_PART = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MOST_CLIENTS = 10000  # whose rates are remembered

# Scripts, styles and requests only from this service. `blob:` and `data:`: images that the page makes or has in its scripts,
# and the workers and fonts of the viewer, which are parts of its script.
_POLICY = "; ".join((
    "default-src 'none'", "script-src 'self' 'wasm-unsafe-eval'", "style-src 'self'", "img-src 'self' blob: data:",
    "font-src 'self' data:", "connect-src 'self' blob: data:", "worker-src 'self' blob:", "frame-src 'self' blob:",
    "base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'", "object-src 'none'"))
HEADERS = {
    "x-content-type-options": "nosniff", "referrer-policy": "no-referrer", "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin", "cross-origin-opener-policy": "same-origin",
    "content-security-policy": _POLICY}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address that the service is bound to."""
    return host in _LOOPBACK or bool(re.fullmatch(r"127(\.\d{1,3}){3}", host))


class Rates:
    """How many requests each client may make: a bucket that holds a minute's worth and fills steadily."""

    def __init__(self, per_minute: int, now: Callable[[], float] = time.monotonic):
        self._most, self._now = float(per_minute), now
        self._left: dict[str, tuple[float, float]] = {}  # client -> requests that it may make, and when this was so

    def wait(self, client: str) -> float:
        """Seconds until the client may ask again; 0: it may now, and has."""
        now = self._now()
        left, since = self._left.pop(client, (self._most, now))
        left = min(self._most, left + (now - since) * self._most / 60)
        self._left[client] = (left - 1 if left >= 1 else left, now)
        if len(self._left) > _MOST_CLIENTS:
            del self._left[next(iter(self._left))]  # who asked longest ago
        return 0.0 if left >= 1 else (1 - left) * 60 / self._most


class Guard:
    """What every request passes before the routes, and every answer after them.

    `received` is called with the number of bytes of each block that comes in.
    """

    def __init__(self, app: App, settings: ServeSettings, received: Callable[[int], None], rates: Rates | None = None):
        self._app, self._settings, self._received = app, settings, received
        self._rates = rates or Rates(settings.limits.requests_per_minute)
        self._tokens = [(_digest(token), owner) for token, owner in settings.tokens.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
            self._admit(scope, headers)
            limit = self._limit(scope["path"])
            if _declared(headers) > limit:
                raise too_large(limit)
            await self._app(scope, self._bounded(receive, limit), answer)
        except ClientDisconnect:
            logger.info("%s %s: the client went away", scope["method"], visible(scope["path"]))
        except Exception as error:
            if answer.has_started:  # the connection ends, so that the client does not take half of it for all
                logger.exception("an answer to %s %s ended early", scope["method"], visible(scope["path"]))
                raise
            await _send_problem(error, scope, receive, answer)

    def _admit(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Raises what is to be answered to a request that may not come in; names its client otherwise."""
        owner = self._owner(headers) if self._tokens else LOCAL
        address = scope["client"][0] if scope.get("client") else ""
        wait = self._rates.wait(owner if self._tokens and owner else f"address {address}")
        if wait:
            most = self._settings.limits.requests_per_minute
            raise refused(429, "too many requests", expected=f"at most {most} per minute",
                          do="wait, then ask again", headers={"Retry-After": str(int(wait) + 1)})
        if not self._tokens and _name_of(headers.get("host", "")) not in _LOOPBACK:
            raise refused(403, "this service answers under the name localhost only", found=headers.get("host", ""),
                          do="open http://localhost, or start it with --tokens")
        if scope["method"] not in _READS and _is_foreign(headers):
            raise refused(403, "another site sent this request", found=headers.get("origin", "another site"),
                          expected="a request of the service's own page, or of a program")
        if owner is None and not _OPEN.fullmatch(scope["path"]):
            raise refused(401, "a token is needed", found="no token, or one that is not known",
                          expected="the header Authorization: Bearer TOKEN",
                          do="ask the person who started the service for a token", headers={"WWW-Authenticate": "Bearer"})
        part = headers.get("x-client", "")
        if part and not _PART.fullmatch(part):
            raise refused(422, "the header X-Client is not a name", found=part[:80],
                          expected="at most 64 letters, digits, '_', '.' and '-'")
        scope.setdefault("state", {})["client"] = f"{owner}/{part}" if part else owner

    def _owner(self, headers: Mapping[str, str]) -> str | None:
        """The owner of the token that a request bears. All are compared, each in constant time."""
        kind, _, given = headers.get("authorization", "").partition(" ")
        offered = _digest(given.strip() if kind.lower() == "bearer" else "")
        owners = [owner for token, owner in self._tokens if hmac.compare_digest(token, offered)]
        return owners[0] if owners else None

    def _limit(self, path: str) -> int:
        return self._settings.limits.upload_bytes + _MOST_FORM if _STREAMED.fullmatch(path) else _MOST_BODY

    def _bounded(self, receive: Receive, limit: int) -> Receive:
        n_bytes = 0

        async def bounded() -> Message:
            nonlocal n_bytes
            message = await receive()
            if message["type"] == "http.request":
                n_bytes += len(message.get("body", b""))
                self._received(len(message.get("body", b"")))
                if n_bytes > limit:
                    raise too_large(limit)
            return message

        return bounded


def client_of(scope: Scope) -> str:
    """The client that the guard named."""
    return str(scope["state"]["client"])


def too_large(limit: int) -> Exception:
    """What is answered to more bytes than may come in."""
    return refused(413, "the request is too large", expected=f"at most {size(limit)}",
                   do="send less, or start the service with a larger limit (--upload)", headers={"Connection": "close"})


class _Answer:
    """The answer on its way out: the headers that every answer has are added, and whether it has started is noted."""

    def __init__(self, send: Send):
        self._send, self.has_started = send, False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_started = True
            headers = list(message.get("headers", ()))
            there = {name.lower() for name, _ in headers}
            headers += [(name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in there]
            message = {**message, "headers": headers}
        await self._send(message)


async def _send_problem(error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer what a request was refused for; of any other error only a number, under which the log has it."""
    detail = getattr(error, "detail", None)
    if isinstance(detail, Problem):
        await as_response(error.status_code, detail, error.headers)(scope, receive, send)  # type: ignore[attr-defined]
        return
    number = secrets.token_hex(4)
    logger.error("fault %s in %s %s", number, scope["method"], visible(scope["path"]), exc_info=error)
    problem = problem_of("a fault of the service", found=f"fault {number}",
                         do="tell who runs the service this number: the log says more")
    await as_response(500, problem)(scope, receive, send)


def _digest(token: str) -> bytes:
    """Digests are compared, since they have one length."""
    return hashlib.sha256(token.encode()).digest()


def _declared(headers: Mapping[str, str]) -> int:
    text = headers.get("content-length", "0")
    return int(text) if text.isdecimal() and len(text) < 19 else 2**63


def _name_of(host: str) -> str:
    """The name in `name:port`, also of `[::1]:8000`."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+))(?::\d{1,5})?", host)
    return (match[1] or match[2]).lower() if match else ""


def _is_foreign(headers: Mapping[str, str]) -> bool:
    """Whether a browser says that a page of another site sends this."""
    origin = headers.get("origin")
    if origin is not None:
        return origin.partition("://")[2].lower() != headers.get("host", "").lower()
    return headers.get("sec-fetch-site", "none") not in ("same-origin", "none")


class Gates:
    """How many uploads come in at a time: of one client, and of all. Who waits too long is refused with 429."""

    def __init__(self, of_client: int = 4, of_all: int = 16, patience_seconds: float = 120.0):
        self._of_client, self._of_all, self._patience = of_client, of_all, patience_seconds
        self._inside: dict[str, int] = {}
        self._changed = asyncio.Condition()

    async def enter(self, client: str) -> None:
        """Wait until one more upload of this client may come in. Raises what is answered where that takes too long."""
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(lambda: self._may_enter(client)), self._patience)
            except asyncio.TimeoutError:
                raise refused(429, "too many uploads at a time", do="wait, then send it again",
                              headers={"Retry-After": "30"}) from None
            self._inside[client] = self._inside.get(client, 0) + 1

    async def leave(self, client: str) -> None:
        async with self._changed:
            self._inside[client] -= 1
            if not self._inside[client]:
                del self._inside[client]
            self._changed.notify_all()

    def _may_enter(self, client: str) -> bool:
        return self._inside.get(client, 0) < self._of_client and sum(self._inside.values()) < self._of_all
