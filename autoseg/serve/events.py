"""Streams of server-sent events: what something is, and again whenever it changed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from planners.schema.base import Frozen

_HEARTBEAT_SECONDS = 15.0

M = TypeVar("M", bound=Frozen)


def event_stream(read: Callable[[], M | None], is_last: Callable[[M], bool], poll_seconds: float) -> StreamingResponse:
    """The answer that sends what `read` returns, each time that it differs from before. It ends after the last one, and
    where there is nothing more to read (None). The server closes it when the client goes away.
    """
    return StreamingResponse(_events(read, is_last, poll_seconds), media_type="text/event-stream")


async def _events(read: Callable[[], M | None], is_last: Callable[[M], bool], poll_seconds: float) -> AsyncIterator[str]:
    silent, sent = 0.0, None
    while (current := await run_in_threadpool(read)) is not None:
        if current != sent:
            yield f"data: {current.model_dump_json()}\n\n"
            silent, sent = 0.0, current
        elif silent >= _HEARTBEAT_SECONDS:
            yield ": still here\n\n"
            silent = 0.0
        if is_last(current):
            return
        await asyncio.sleep(poll_seconds)
        silent += poll_seconds
