"""`millrace audit list`."""

from datetime import datetime, timedelta

import click

from millrace.cli import show
from millrace.cli.options import Output, Span, Target, output_option, target_options
from millrace.cli.session import connect
from millrace.client import people
from millrace.wire.v1.audit import AuditEntryView

_PAGE = 500


@click.command()
@click.option("--caller", help="Only what this one did: the name of a key.")
@click.option("--path", help="Only what was asked of paths that begin so, such as /v1/keys.")
@click.option("--since", type=Span(), metavar="SPAN", help="Only the last so long, such as 12h or 7d.")
@click.option("--lines", "-n", "limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="So many.")
@target_options
@output_option
def list_entries(
    caller: str | None, path: str | None, since: float | None, limit: int, target: Target, output: Output
) -> None:
    """Show who changed what, or was turned away, the newest last. As JSON, also what was asked, before and after."""
    moment = None if since is None else datetime.now().astimezone() - timedelta(seconds=since)
    found: list[AuditEntryView] = []
    cursor: str | None = None
    with connect(target) as client:
        while len(found) < limit:
            page = client.do(
                people.audit(
                    caller=caller, path=path, since=moment, cursor=cursor, limit=min(_PAGE, limit - len(found))
                )
            )
            found += page.entries
            cursor = page.next
            if cursor is None:
                break
    found.reverse()
    if output is Output.JSON:
        show.json_document({"entries": found})
        return
    rows = [
        (
            show.moment(one.at), show.escape(one.caller or "a stranger"), one.role, show.escape(one.client),
            show.escape(f"{one.method} {one.path}"), str(one.status), show.escape(_about(one)),
        )
        for one in found
    ]  # fmt: skip
    show.table(("at", "who", "role", "from", "what", "answer", "about"), rows, empty="nobody has changed anything yet")


def _about(one: AuditEntryView) -> str:
    """Why it was refused, or what became of what it changed, in a few words."""
    left_out = f"; {one.left_out} more of strangers before it" if one.left_out else ""
    if one.detail:
        return one.detail + left_out
    before, after = one.before, one.after
    if isinstance(before, dict) and isinstance(after, dict):
        changes = [f"{name} {before[name]} -> {after.get(name)}" for name in before if before[name] != after.get(name)]
        return ", ".join(changes) + left_out
    if isinstance(after, dict):
        return " ".join(f"{name}={value}" for name, value in after.items() if value not in (None, "")) + left_out
    return left_out.removeprefix("; ")
