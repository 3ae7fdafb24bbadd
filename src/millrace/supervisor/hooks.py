"""What a plan says of hooks: short programs that run before and after others start and stop. Frozen values; times are seconds."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from msgspec import Struct, field


class Moment(StrEnum):
    """When a hook runs."""

    PRE_START = "pre-start"
    POST_START = "post-start"
    PRE_STOP = "pre-stop"
    POST_STOP = "post-stop"


class Hook(Struct, frozen=True, kw_only=True):
    """One program, run to its end.

    `retries` are attempts after the first, `retry_delay_s` apart; each may take `timeout_s`. With `continue_on_error` the
    hooks after it run all the same, and it counts as one that worked. Without `user` and `group` it runs as its process does.
    """

    name: str
    command: tuple[str, ...]
    timeout_s: float = 30.0
    retries: int = 0
    retry_delay_s: float = 1.0
    continue_on_error: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    working_dir: Path | None = None
    user: str | None = None
    group: str | None = None


Hooks = Mapping[Moment, tuple[Hook, ...]]
"""The hooks of the whole, or of one process, in the order in which they run."""
