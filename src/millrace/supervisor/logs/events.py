"""The supervisor's own events take the way of all output, so that a stderr which nobody reads never holds it up."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from millrace.supervisor.logs.writer import Writer


class _Stream(io.TextIOBase):
    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def write(self, text: str, /) -> int:
        self._writer.give(text.encode("utf-8", "backslashreplace"), text.count("\n"))
        return len(text)


@contextmanager
def events_to(writer: Writer, *, instead_of: TextIO | None) -> Iterator[None]:
    """Inside the block, log handlers that write to a stream write to `writer`."""
    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is instead_of
    ]
    stream = _Stream(writer)
    for handler in handlers:
        handler.setStream(stream)
    try:
        yield
    finally:
        for handler in handlers:
            handler.setStream(instead_of)
