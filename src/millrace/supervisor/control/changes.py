"""The last changes, as server-sent events (WHATWG HTML, section 9.2) that can be taken up where they broke."""

import secrets
from collections import deque

import msgspec

from millrace.wire.v1.base import Reply

KEPT = 2000
_encode = msgspec.json.Encoder().encode


class Changes:
    """Changes are numbered from 1. A cursor names this run of the supervisor and a number."""

    def __init__(self, run: str = "") -> None:
        """`run` names this run; a random word where it is not given."""
        self.run = run or secrets.token_hex(4)
        self._kept: deque[bytes] = deque(maxlen=KEPT)
        self.count = 0

    def add(self, change: Reply, name: str = "change") -> None:
        """Keep a change; `name` is that of the event."""
        self.count += 1
        self._kept.append(
            b"id: %s\nevent: %s\ndata: %s\n\n" % (self.cursor(self.count).encode(), name.encode(), _encode(change))
        )

    def cursor(self, number: int) -> str:
        """What stands for everything up to a change."""
        return f"{self.run}-{number}"

    def number(self, cursor: str) -> int | None:
        """What a cursor stands for; None for one of another run.

        Raises:
            ValueError: it is no cursor.
        """
        run, _, number = cursor.rpartition("-")
        if not (run.isalnum() and number.isascii() and number.isdigit() and len(number) <= 15):
            raise ValueError("it is no cursor")
        return int(number) if run == self.run and int(number) <= self.count else None

    def after(self, number: int) -> tuple[list[bytes], bool]:
        """The changes after a number, each as an event, and whether some in between are no longer kept."""
        first = self.count - len(self._kept)
        return list(self._kept)[max(0, number - first) :], number < first
