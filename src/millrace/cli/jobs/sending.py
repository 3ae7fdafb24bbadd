"""A film that is sent while its job has begun already: announced, submitted, and then sent as long as anybody wants it."""

import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from millrace.cli.failure import CommandError
from millrace.cli.progress import Bars
from millrace.client import people
from millrace.client.client import Client
from millrace.client.errors import InterruptedTransferError, RefusedError, UnreachableError
from millrace.client.transfers import announce, forget, send_rest
from millrace.domain.states import FINAL
from millrace.wire.v1.jobs import JobDetail, JobRequest
from millrace.wire.v1.system import UploadView

EARLY_BYTES = 64 << 20
"""A smaller film is sent first: it arrives in few pieces, so that nothing could begin much before the last of them."""
UNKNOWN_HERE = frozenset({"early", "input"})
"""Fields that are at fault where a master does not accept a job before its film."""


def submit_early(
    client: Client, path: Path, request: JobRequest, *, key: str | None, said: Callable[[JobDetail], None], quiet: bool
) -> JobDetail:
    """Submit a film of this machine and send it then; `said` hears of the job as soon as it is accepted. Where the masters do not
    accept it before all has arrived, it is sent first.

    Raises:
        OSError, ClientError: as `upload`.
        CommandError: the job ended before all was sent.
    """
    view = announce(client, path)
    wish = msgspec.structs.replace(request, input=f"upload://{view.id}")
    try:
        job = client.do(people.submit(msgspec.structs.replace(wish, early=True), key=key))
    except RefusedError as error:
        if not any(one.field in UNKNOWN_HERE for one in error.errors):
            client.do(forget(view.id))
            raise
        send_rest(client, path, view)
        return client.do(people.submit(wish, key=key))
    said(job)
    return send_for(client, path, view, job, quiet=quiet)


def send_for(client: Client, path: Path, view: UploadView, job: JobDetail, *, quiet: bool) -> JobDetail:
    """Send what has not arrived of a job's film, for as long as the job goes on; the job as it stands then. Raises as `submit_early`."""
    with Bars(enabled=not quiet) as bars:

        def progress(have: int, size: int) -> None:
            nonlocal job
            job = client.do(people.job(job.id))
            bars.update(job)
            if job.state in FINAL and have < size:
                why = f": {job.failure.message}" if job.failure else ""
                raise CommandError(f"cannot send the rest of {path}: job {job.number} is {job.state}{why}")

        try:
            send_rest(client, path, view, progress=progress)
        except (KeyboardInterrupt, InterruptedTransferError, UnreachableError):
            sys.stderr.write(
                f"job {job.number} waits for the rest of its film: `millrace jobs send {job.number} {path}` goes on, "
                f"`millrace jobs cancel {job.number}` gives it up\n"
            )
            raise
    return client.do(people.job(job.id))
