"""A reply's head and body in one write to the socket.

uvicorn writes them one by one, and each write is a system call that lets go of the interpreter's lock; under load the way
back to the lock costs more than all else that a small reply needs.
"""

import asyncio
from typing import Any


class OneWriteTransport:
    """Holds the head of a reply back for the body that follows it, at most until the loop's next turn."""

    __slots__ = ("_held", "_inner", "_loop")

    def __init__(self, inner: asyncio.Transport) -> None:
        self._inner = inner
        self._loop = asyncio.get_running_loop()
        self._held = b""

    def __getattr__(self, name: str) -> Any:
        """Everything but writing and closing is the transport's own."""
        return getattr(self._inner, name)

    def write(self, data: bytes) -> None:
        if self._held:
            head, self._held = self._held, b""
            self._inner.write(head + data)
        elif data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n"):
            self._held = data
            # A stream's head goes out though its first piece may take long.
            self._loop.call_soon(self._flush)
        else:
            self._inner.write(data)

    def close(self) -> None:
        self._flush()
        self._inner.close()

    def is_closing(self) -> bool:
        return self._inner.is_closing()

    def _flush(self) -> None:
        if self._held:
            head, self._held = self._held, b""
            self._inner.write(head)
