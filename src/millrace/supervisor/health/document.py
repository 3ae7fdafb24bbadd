"""A health check, from its part of a plan."""

import re
from pathlib import Path
from urllib.parse import urlsplit

from millrace.domain.document import shown
from millrace.supervisor.health.values import HealthCheck, HttpCheck, ProbeKind, ProbeMode, Tls
from millrace.supervisor.plans.reader import Reader

START_TIMEOUT_S = 90.0  # DefaultTimeoutStartSec of systemd-system.conf(5)
METHODS = ("GET", "HEAD", "POST", "PUT", "OPTIONS")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")  # RFC 9110, 5.6.2
_RANGE = re.compile(r"(\d{3})(?:-(\d{3}))?\Z")


def health_check_of(reader: Reader) -> HealthCheck | None:
    """What stands under `health_check`; None where the process has none."""
    if not reader.has("health_check"):
        return None
    inner = reader.inner("health_check")
    kind = ProbeKind(inner.word("type", ProbeKind, ProbeKind.TCP))
    modes = (ProbeMode.BOTH, ProbeMode.READINESS) if kind is ProbeKind.LOG else tuple(ProbeMode)
    mode = ProbeMode(inner.word("mode", modes, ProbeMode.BOTH))
    found = _question(inner, kind, mode) if kind.asks else _word(inner, kind, mode)
    inner.done()
    return found


def _question(inner: Reader, kind: ProbeKind, mode: ProbeMode) -> HealthCheck:
    command: tuple[str, ...] = ()
    target, http = "", None
    if kind is ProbeKind.EXEC:
        command = inner.command()
    elif kind is ProbeKind.HTTP:
        http = _http(inner)
        target = http.url
    else:
        target = inner.text("address", "", 2000)
        _check_target(inner, "address", kind, target)
    return HealthCheck(
        kind=kind,
        target=target,
        command=command,
        http=http,
        mode=mode,
        initial_delay_s=inner.duration("initial_delay", 0.0),
        period_s=inner.duration("period", 10.0, 0.01),
        timeout_s=inner.duration("timeout", 3.0, 0.01),
        success_threshold=inner.whole("success_threshold", 1, 100, 1),
        failure_threshold=inner.whole("failure_threshold", 1, 100, 3),
    )


def _word(inner: Reader, kind: ProbeKind, mode: ProbeMode) -> HealthCheck:
    """What speaks by itself: how long the first word may take, and how often one must come."""
    pattern, stream, watchdog_s = None, "", 0.0
    if kind is ProbeKind.LOG:
        pattern = inner.pattern("pattern")
        if pattern is None and not inner.has("pattern"):
            inner.report("pattern", "is missing; give a regular expression, such as 'ready to accept'")
        word = inner.word("stream", ("both", "stdout", "stderr"), "both")
        stream = "" if word == "both" else word
    else:
        watchdog_s = inner.duration("watchdog", 0.0)
    start_timeout_s = inner.duration("start_timeout", START_TIMEOUT_S)
    return HealthCheck(
        kind=kind, mode=mode, pattern=pattern, stream=stream, start_timeout_s=start_timeout_s, watchdog_s=watchdog_s
    )


def _http(inner: Reader) -> HttpCheck:
    url = inner.text("url", "", 2000)
    _check_target(inner, "url", ProbeKind.HTTP, url)
    tls = _tls(inner)
    if inner.has("tls") and url.startswith("http:"):
        inner.report("tls", "is of no use to a url that begins with http:; write https:, or take it out")
    return HttpCheck(
        url=url,
        method=inner.word("method", METHODS, "GET"),
        headers=_headers(inner),
        statuses=_statuses(inner),
        expected_headers=_expected_headers(inner),
        contains=inner.text("expected_body", "", 2000),
        pattern=inner.pattern("expected_body_pattern"),
        tls=tls,
    )


def _tls(reader: Reader) -> Tls:
    inner = reader.inner("tls")
    files = {key: inner.text(key, "", 4096) for key in ("ca_file", "cert_file", "key_file")}
    for key, path in files.items():
        if path and not Path(path).is_absolute():
            inner.report(key, f"is {shown(path)}; give the full path, such as /etc/ssl/{key.removesuffix('_file')}.pem")
    paths = {key: Path(path) if path else None for key, path in files.items()}
    if files["key_file"] and not files["cert_file"]:
        inner.report("cert_file", "is missing; a key_file is of no use without it")
    found = Tls(
        verify=inner.flag("verify", True),
        authorities=paths["ca_file"],
        server_name=inner.text("server_name", "", 253),
        certificate=paths["cert_file"],
        key=paths["key_file"],
    )
    inner.done()
    return found


def _headers(reader: Reader) -> dict[str, str]:
    inner = reader.inner("headers")
    found = {}
    for name in inner.document:
        value = inner.raw(name, "")
        if not _TOKEN.match(name):
            inner.report(name, "is no name of a header; allowed: letters, digits and -")
        elif not isinstance(value, str) or not value.isprintable():
            inner.report(name, f"must be a text of one line, not {shown(value)}")
        else:
            found[name] = value
    return found


def _expected_headers(reader: Reader) -> dict[str, re.Pattern[str]]:
    """The name of a header, and what its value must match."""
    inner = reader.inner("expected_headers")
    found = {name.lower(): inner.pattern(name) for name in inner.document}
    return {name: pattern for name, pattern in found.items() if pattern is not None}


def _statuses(reader: Reader) -> tuple[tuple[int, int], ...]:
    """A status, a range such as `200-299`, or a list of both."""
    reader.note("expected_status", type="integer", minimum=100, maximum=599, default=200)
    reader.note("expected_status", type="string", pattern=r"^\d{3}(-\d{3})?$")
    reader.note("expected_status", type="array", items={"type": ["integer", "string"]})
    value = reader.raw("expected_status", 200)
    ranges = []
    for one in value if isinstance(value, list) else [value]:
        match = None if isinstance(one, bool) else _RANGE.match(str(one))
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 100 <= low <= high <= 599:
            reader.report("expected_status", f"is {shown(one)}; give 100 to 599, a range such as 200-299, or a list")
        ranges.append((low, high))
    if not ranges:
        reader.report("expected_status", "is an empty list; name at least one status, such as 200")
    return tuple(ranges)


def _check_target(reader: Reader, key: str, kind: ProbeKind, target: str) -> None:
    try:
        parts = urlsplit(target if kind is ProbeKind.HTTP else f"tcp://{target}")
        usable = bool(parts.hostname) and (kind is ProbeKind.HTTP or parts.port is not None)
        usable = usable and (kind is not ProbeKind.HTTP or (parts.scheme in ("http", "https") and parts.port != 0))
        usable = usable and target.isascii() and target.isprintable() and " " not in target
    except ValueError:
        usable = False
    if not usable:
        example = "http://127.0.0.1:8080/health" if kind is ProbeKind.HTTP else "127.0.0.1:6379"
        reader.report(key, f"is {shown(target)}; give one such as {example}")
