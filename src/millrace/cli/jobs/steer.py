"""`millrace jobs cancel`, `pause`, `resume` and `retry`: one shape, four verbs."""

from millrace.cli import show
from millrace.cli.options import DEFAULT_MASTER, JobArgument, KeyFileOption, MasterOption, Output, OutputOption
from millrace.cli.session import connect
from millrace.client import people
from millrace.client.calls import Call
from millrace.wire.v1.jobs import JobDetail


def _steer(call: Call[JobDetail], master: str, key_file: KeyFileOption, output: Output) -> None:
    with connect(master, key_file) as client:
        found = client.do(call)
    if output is Output.JSON:
        show.json_document(found)
    else:
        print(f"job {found.number} is {found.state}")


def cancel(
    job: JobArgument,
    master: MasterOption = DEFAULT_MASTER,
    key_file: KeyFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """End a job; a running engine is stopped and leaves nothing behind."""
    _steer(people.cancel(job), master, key_file, output)


def pause(
    job: JobArgument,
    master: MasterOption = DEFAULT_MASTER,
    key_file: KeyFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Hold a job; a running engine is frozen and keeps what it has done."""
    _steer(people.pause(job), master, key_file, output)


def resume(
    job: JobArgument,
    master: MasterOption = DEFAULT_MASTER,
    key_file: KeyFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let a paused job go on."""
    _steer(people.resume(job), master, key_file, output)


def retry(
    job: JobArgument,
    master: MasterOption = DEFAULT_MASTER,
    key_file: KeyFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Run a failed, canceled or rejected job again; its history stays."""
    _steer(people.retry(job), master, key_file, output)
