"""`millrace jobs submit --folder` and `--csv`."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from millrace.cli import show
from millrace.cli.batches.rows import Row, of_folder, of_table
from millrace.cli.batches.watch import follow, outcome
from millrace.cli.failure import CommandError
from millrace.cli.jobs.request import Wish
from millrace.cli.options import Output, Target
from millrace.cli.session import connect
from millrace.client import many
from millrace.client.errors import RefusedError
from millrace.wire.v1.batches import BatchRequest
from millrace.wire.v1.problems import FieldError

_PLACE = re.compile(r"jobs\[(\d+)\]\.?(.*)", re.DOTALL)


def submit_batch(
    wish: Wish,
    folder: Path | None,
    pattern: Sequence[str],
    table: Path | None,
    *,
    name: str,
    skip_bad: bool,
    key: str | None,
    wait: bool,
    target: Target,
    output: Output,
) -> int:
    """Submit the films of a folder or the rows of a table, and say what became of it; the exit code."""
    tenant = str(wish.pop("tenant"))
    rows = of_folder(wish, folder, pattern) if folder is not None else of_table(wish, table or Path())
    request = BatchRequest(
        jobs=[row.document for row in rows],
        name=name or str((folder or table or Path()).name),
        tenant=tenant,
        skip_bad=skip_bad,
    )
    with connect(target) as client:
        try:
            made = client.do(many.submit_batch(request, key=key))
        except RefusedError as error:
            if not error.errors:
                raise
            named = (_of_row(rows, one) for one in error.errors)
            text = "\n".join(f"  {one.field}: {one.message}" for one in named)
            raise CommandError(f"cannot submit the batch, and nothing was accepted:\n{text}") from error
        if wait:
            made = replace(follow(client, made.id, quiet=output is Output.JSON), skipped=made.skipped)
    if output is Output.JSON:
        show.json_document(made)
    else:
        print(f"batch {made.id} has {made.total} jobs" + (f", of which {made.ended} have ended" if made.ended else ""))
    for one in made.skipped:
        for wrong in one.errors:
            sys.stderr.write(f"left out: {rows[one.place].where}: {wrong.field}: {wrong.message}\n")
    return outcome(made) if wait else 0


def _of_row(rows: Sequence[Row], error: FieldError) -> FieldError:
    """What is wrong, by the line or the film that it stands in."""
    found = _PLACE.fullmatch(error.field)
    if found is None:
        return error
    place, field = int(found[1]), found[2]
    return replace(error, field=f"{rows[place].where}: {field}" if field else rows[place].where)
