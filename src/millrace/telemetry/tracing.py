"""Traces for OpenTelemetry, where its standard variables ask for them (OTEL_..., as its specification has them).

Nothing of OpenTelemetry is imported otherwise: its API alone takes 14 ms, the SDK with its exporter 95.
"""

import threading
from collections.abc import Mapping
from datetime import datetime
from importlib import import_module
from typing import Any, Protocol

from millrace.telemetry.logs import logger

log = logger("telemetry")
Attributes = Mapping[str, str | int | float | bool]
_NAMES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
FLUSH_S = 3.0
"""How long the end of a program waits for a collector that does not answer."""


class Span(Protocol):
    """Something that takes a while."""

    def end(self, at: datetime, *, fault: str | None = None, attributes: Attributes | None = None) -> None:
        """It is over; `fault` is why it failed."""


class Tracer(Protocol):
    """Where spans go."""

    def start(
        self, name: str, *, at: datetime, parent: Span | None = None, attributes: Attributes | None = None
    ) -> Span:
        """Something begins, on its own or inside another."""

    def close(self) -> None:
        """Let what has ended arrive, for a while."""


def exporter_of(environ: Mapping[str, str]) -> str | None:
    """Which exporter the variables ask for: `otlp`, `console`, another one's name; None: no traces."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    named = environ.get("OTEL_TRACES_EXPORTER", "").strip().lower()
    if named == "none":
        return None
    return named or ("otlp" if any(environ.get(name) for name in _NAMES) else None)


def tracer_from(environ: Mapping[str, str], *, service: str, version: str) -> Tracer | None:
    """A tracer, where the variables ask for one; None, with a warning, where it cannot be had. `service` where none is named."""
    exporter = exporter_of(environ)
    if exporter is None:
        return None
    protocol = next((environ[name] for name in _PROTOCOLS if environ.get(name)), "http/protobuf")
    try:
        return _OpenTelemetry(
            _exporter(exporter, protocol), service=environ.get("OTEL_SERVICE_NAME") or service, version=version
        )
    except ImportError as error:
        log.warning(
            "telemetry.no_traces",
            why=f"cannot send traces: {error}; install millrace[otel], or set OTEL_TRACES_EXPORTER=none",
        )
    except Exception as error:  # noqa: BLE001  a wrong variable of the SDK must not keep processes from being kept
        log.warning("telemetry.no_traces", why=f"cannot send traces: {error}")
    return None


def _exporter(name: str, protocol: str) -> Any:
    if name == "console":
        from sys import stderr  # noqa: PLC0415  as it is now

        from opentelemetry.sdk.trace.export import ConsoleSpanExporter  # noqa: PLC0415  see the module

        return ConsoleSpanExporter(out=stderr)
    if name != "otlp":
        raise ValueError(f"OTEL_TRACES_EXPORTER is {name!r}, and only otlp, console and none are known here")
    kind = "grpc" if protocol == "grpc" else "http"
    return import_module(f"opentelemetry.exporter.otlp.proto.{kind}.trace_exporter").OTLPSpanExporter()


class _OpenTelemetry:
    """The SDK, with a thread of its own that sends."""

    def __init__(self, exporter: Any, *, service: str, version: str) -> None:
        from opentelemetry import trace  # noqa: PLC0415  see the module
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        self._trace = trace
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": service, "service.version": version}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("millrace", version)

    def start(
        self, name: str, *, at: datetime, parent: Span | None = None, attributes: Attributes | None = None
    ) -> "_OtelSpan":
        # Without a parent it begins a trace, whatever the current context of this task is.
        around = self._trace.set_span_in_context(
            parent.inner if isinstance(parent, _OtelSpan) else self._trace.INVALID_SPAN
        )
        return _OtelSpan(self._trace, self._tracer.start_span(name, around, attributes=attributes, start_time=_ns(at)))

    def close(self) -> None:
        # Its own time-out is longer than people wait, and a thread that is no daemon would hold the program.
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(FLUSH_S)


class _OtelSpan:
    def __init__(self, trace: Any, inner: Any) -> None:
        self._trace = trace
        self.inner = inner

    def end(self, at: datetime, *, fault: str | None = None, attributes: Attributes | None = None) -> None:
        self.inner.set_attributes(attributes or {})
        if fault is not None:
            self.inner.set_status(self._trace.Status(self._trace.StatusCode.ERROR, fault))
        self.inner.end(_ns(at))


def _ns(at: datetime) -> int:
    return round(at.timestamp() * 1e6) * 1000
