"""What a plan says of the health of a process. Frozen values; times are seconds."""

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from msgspec import Struct, field


class ProbeKind(StrEnum):
    """How it is known whether a process is well."""

    TCP = "tcp"
    HTTP = "http"
    EXEC = "exec"
    NOTIFY = "notify"  # it says so itself, sd_notify(3)
    LOG = "log"  # it prints a line

    @property
    def asks(self) -> bool:
        """Whether it is asked; the others speak by themselves."""
        return self not in (ProbeKind.NOTIFY, ProbeKind.LOG)


class ProbeMode(StrEnum):
    """What the answer decides."""

    READINESS = "readiness"
    LIVENESS = "liveness"
    BOTH = "both"


class Tls(Struct, frozen=True, kw_only=True):
    """How the certificate of an https server is judged, and with which one we show ourselves.

    `authorities` are trusted instead of the system's; `server_name` stands in the certificate instead of the URL's host.
    """

    verify: bool = True
    authorities: Path | None = None
    server_name: str = ""
    certificate: Path | None = None
    key: Path | None = None


class HttpCheck(Struct, frozen=True, kw_only=True):
    """What is asked over HTTP, and which answer is well.

    `statuses` are ranges, both ends included. Every header of `expected_headers` must be there, and match; names are in
    small letters. The body must hold `contains` and match `pattern`, as far as its first 64 KiB. Redirects are answers
    like others, and are not followed.
    """

    url: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    statuses: tuple[tuple[int, int], ...] = ((200, 200),)
    expected_headers: Mapping[str, re.Pattern[str]] = field(default_factory=dict)
    contains: str = ""
    pattern: re.Pattern[str] | None = None
    tls: Tls = field(default_factory=Tls)


class HealthCheck(Struct, frozen=True, kw_only=True):
    """How a process shows that it is well.

    tcp (`target` is host:port), http and exec (`command`) ask: the first question comes `initial_delay_s` after the start,
    the next `period_s` after the answer to the one before; no answer within `timeout_s` is a failure.

    notify and log wait for a word: READY=1, or a line that matches `pattern` (of `stream`, empty for both). It has to come
    within `start_timeout_s`, and afterwards, with a `watchdog_s`, WATCHDOG=1 that often; 0 is no limit.
    """

    kind: ProbeKind
    target: str = ""
    command: tuple[str, ...] = ()
    http: HttpCheck | None = None
    pattern: re.Pattern[str] | None = None
    stream: str = ""
    mode: ProbeMode = ProbeMode.BOTH
    initial_delay_s: float = 0.0
    period_s: float = 10.0
    timeout_s: float = 3.0
    success_threshold: int = 1
    failure_threshold: int = 3
    start_timeout_s: float = 0.0
    watchdog_s: float = 0.0

    @property
    def gates(self) -> bool:
        """Whether the process is ready only when this says so."""
        return self.mode is not ProbeMode.LIVENESS

    @property
    def restarts(self) -> bool:
        """Whether the process is restarted when this says that it is unwell."""
        return self.mode is not ProbeMode.READINESS
