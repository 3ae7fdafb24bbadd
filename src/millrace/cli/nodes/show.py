"""`millrace nodes show`."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from millrace.cli import show as shown
from millrace.cli.options import Output, Target, node_argument, output_option, target_options
from millrace.cli.session import connect
from millrace.client import people
from millrace.wire.v1.work import QuarantineView


@click.command()
@node_argument
@target_options
@output_option
def show(
    node: str,
    target: Target,
    output: Output,
) -> None:
    """Show a machine: what it offers, and for each encoder that does not work, why."""
    with connect(target) as client:
        found = client.do(people.node(node))
    if output is Output.JSON:
        shown.json_document(found)
        return
    shown.lines(
        [
            ("node", f"{shown.escape(found.name)}  [dim]{found.id}[/dim]"),
            ("state", shown.styled(found.state)),
            ("why", _why(found.quarantine)),
            ("tasks", f"{found.holding} of {found.slots} slots"),
            ("labels", shown.escape(", ".join(f"{key}={value}" for key, value in found.labels.items()))),
            ("engines", ", ".join(found.engines)),
            ("memory", f"{found.memory_mb} MB"),
            ("sessions", shown.escape(_sessions(found.facts.get("sessions")))),
            ("ffmpeg", shown.escape(_ffmpeg(found.facts.get("ffmpeg")))),
            ("sandbox", shown.escape(_sandbox(found.facts.get("sandbox")))),
            ("limits", shown.escape(_limits(found.facts.get("limits")))),
            ("registered", shown.moment(datetime.fromisoformat(found.registered))),
            ("last seen", shown.moment(datetime.fromisoformat(found.seen))),
        ]
    )
    print()
    shown.table(
        ["encoder", "works"],
        [[name, shown.escape(reason) or "[green]yes[/green]"] for name, reason in sorted(found.encoders.items())],
        empty="It has proven no encoder.",
    )


def _why(quarantine: QuarantineView | None) -> str:
    """What the node did, and when it may go on."""
    if quarantine is None:
        return ""
    return (
        f"{shown.escape(quarantine.reason)}\n     since {shown.moment(quarantine.since)}; it proves itself from "
        f"{shown.moment(quarantine.proof_due)} on, or `millrace nodes release` gives it work again"
    )


def _sessions(record: object) -> str:
    """What its hardware encodes at once."""
    return ", ".join(f"{family} {count}" for family, count in record.items()) if isinstance(record, dict) else ""


def _ffmpeg(record: object) -> str:
    """Which program the node runs."""
    if not isinstance(record, dict):
        return "unknown"
    return f"{record.get('version')}, {record.get('path')}, SHA-256 {record.get('sha256')}"


def _sandbox(record: object) -> str:
    """What the node says of how it shuts engines in."""
    if not isinstance(record, dict):
        return "unknown"
    return f"{record.get('mechanism')}: {_in_force(record)}"


def _limits(record: object) -> str:
    """What it says an engine may take."""
    return _in_force(record) if isinstance(record, dict) else "unknown"


def _in_force(record: Mapping[str, Any]) -> str:
    parts = [", ".join(record.get("in_force", ())) or "nothing is in force"]
    missing = ", ".join(record.get("missing", ()))
    return "; ".join([*parts, f"not in force: {missing}"] if missing else parts)
