"""The text in a file that should be a plan, or a part of one, and may be anything."""

import os
import stat
from pathlib import Path

MAX_CHARS = 1 << 20
"""Of a plan. It stands here because who only watches a file does not load what reads YAML."""


def text_in(path: Path, *, pipes: bool = False) -> str:
    """What stands there, read no further than it takes to see that it is too long. Never waits for somebody to begin to write.

    `pipes` takes what is no file, too, such as `<(...)` of a shell or `/dev/stdin`.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not for reading, or no UTF-8; says why.
    """
    # A named pipe is opened at once like this, and then ends at once unless somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, encoding="utf-8") as file:
        kind = os.fstat(descriptor).st_mode
        if not (pipes or stat.S_ISREG(kind)):
            raise ValueError("it is no file")
        os.set_blocking(descriptor, True)
        try:
            text = file.read(MAX_CHARS + 1)
        except UnicodeDecodeError as error:
            raise ValueError(f"it is no UTF-8 at byte {error.start}") from error
    if not text and stat.S_ISFIFO(kind):
        raise ValueError("it is a pipe that nobody writes to")
    return text
