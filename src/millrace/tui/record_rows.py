"""What the tables of hooks and of the audit trail show, the newest first. Pure."""

from collections.abc import Sequence

from millrace.tui.rows import Row
from millrace.tui.words import clock, plain, span
from millrace.wire.v1.audit import AuditEntryView
from millrace.wire.v1.supervise import HookRunView

HOOK_HEAD = ("BEGAN", "OF", "WHEN", "HOOK", "TRY", "TOOK", "OUTCOME")
AUDIT_HEAD = ("AT", "WHO", "ROLE", "WHAT", "ANSWER", "WHY NOT")


def hook_rows(found: Sequence[HookRunView]) -> list[Row]:
    """Runs of hooks, oldest first as they come."""
    return [
        Row(
            str(number), "",
            (
                clock(one.began), plain(one.instance) or "(all)", one.moment, plain(one.hook), str(one.attempt),
                span(one.seconds), plain(one.fault or "worked"),
            ),
        )
        for number, one in reversed([*enumerate(found)])
    ]  # fmt: skip


def audit_rows(found: Sequence[AuditEntryView]) -> list[Row]:
    """Entries of the trail, oldest first as they come."""
    return [
        Row(
            one.request_id + str(number), "",
            (
                clock(one.at), plain(one.caller) or "a stranger", one.role or "-", plain(f"{one.method} {one.path}"),
                str(one.status), plain(one.detail),
            ),
        )
        for number, one in reversed([*enumerate(found)])
    ]  # fmt: skip
