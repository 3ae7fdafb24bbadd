"""The command line: one tree of commands, and one place where errors become sentences and exit codes."""

import errno
import gc
import os
import sys
from contextlib import suppress

import click

import millrace
from millrace.cli.failure import CommandError
from millrace.cli.main import INTERRUPTED
from millrace.cli.tree import LazyGroup

_MASTERS = "Start one with `millrace up`, or name its address with --master or MILLRACE_MASTER"
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})

app = LazyGroup(
    name="millrace",
    help="Turn video into other video, on as many machines as you have.",
    commands={
        "transcode": ("millrace.cli.cmd_transcode:transcode", "Turn a film into other video, here and now."),
        "up": ("millrace.cli.cmd_up:up", "Run a whole farm on this machine."),
        "master": ("millrace.cli.cmd_master:master", "Run a master: it keeps jobs and gives them to workers."),
        "worker": ("millrace.cli.cmd_worker:worker", "Run a worker: it asks masters for work and does it."),
        "jobs": ("millrace.cli.jobs:app", "Submit jobs, look at them, and steer them."),
        "nodes": ("millrace.cli.nodes:app", "Look at the machines of the farm, and take them in and out of work."),
        "keys": ("millrace.cli.keys:app", "Say who may do what at the farm: make API keys, rotate and revoke them."),
        "audit": (
            "millrace.cli.audit:app",
            "Look at who changed what at the farm, and check that nobody changed that.",
        ),
        "doctor": ("millrace.cli.cmd_doctor:doctor", "Look at this installation, and say what is wrong."),
        "backup": ("millrace.cli.cmd_backup:backup", "Save a farm while it runs."),
        "restore": ("millrace.cli.cmd_backup:restore", "Make a farm of a backup."),
        "profiles": ("millrace.cli.profiles:app", "Look at the profiles that come with Millrace, and check your own."),
        "supervise": ("millrace.cli.supervise:app", "Keep processes running as a plan says, as PID 1 or anywhere."),
        "ctl": ("millrace.cli.ctl:app", "Look at the processes of a running supervisor, and steer them."),
        "completion": (
            "millrace.cli.cmd_completion:completion",
            "Print the script that completes commands in a shell.",
        ),
    },
)
click.version_option(millrace.__version__, prog_name="millrace", message="%(prog)s %(version)s")(app)


def run() -> None:
    """Run the command that the arguments name, and end the program with its exit code."""
    # Most objects made while modules are imported live as long as the program: looking through them for garbage again
    # and again takes a sixth of the start. `transcode` and the servers turn the collector on once they are up.
    gc.disable()
    try:
        code = app.main(prog_name="millrace", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone: nothing is left to say, and nobody to say it to.
        code = 0
    except Exception as error:  # noqa: BLE001  what the rooms raise for users is sorted out in one place
        code = _tell(error)
    _drop_unwritten()
    sys.exit(code if isinstance(code, int) else 0)


def _drop_unwritten() -> None:
    """Forget what can be written nowhere, or Python tries once more at its end, complains, and exits with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _tell(error: Exception) -> int:
    """Say in a sentence what went wrong and give the exit code; what is none of the known kinds is raised again."""
    if isinstance(error, CommandError):
        _complain(str(error))
        return error.code
    from millrace.client.errors import ClientError  # noqa: PLC0415  most commands end well and never need them
    from millrace.config.settings import SettingError  # noqa: PLC0415
    from millrace.programs.exhausted import ExhaustedError  # noqa: PLC0415

    if isinstance(error, SettingError):
        _complain(str(error))
        return 2
    if isinstance(error, ExhaustedError):
        _complain(str(error))
        return 1
    if isinstance(error, OSError) and error.errno in _FULL:
        _complain(f"cannot write what was found: {error.strerror}")
        return 1
    if isinstance(error, ClientError):
        _complain(_sentence(error))
        return 1
    raise error


def _complain(sentence: str) -> None:
    with suppress(OSError):  # the exit code tells of it all the same
        sys.stderr.write(f"millrace: {sentence}\n")


def _sentence(error: Exception) -> str:
    """What is wrong; of a refusal with findings, each on a line of its own with what would be right."""
    from millrace.client.errors import RefusedError, UnreachableError  # noqa: PLC0415

    if isinstance(error, UnreachableError):
        said = str(error)
        return f"{said}{' ' if said.endswith('?') else '. '}{_MASTERS}"
    if not isinstance(error, RefusedError) or not error.errors:
        return str(error)
    lines = [
        f"  {finding.field}: {finding.message}"
        + (f" (allowed: {', '.join(finding.allowed)})" if finding.allowed else "")
        for finding in error.errors
    ]
    return "\n".join(["the master refuses this:", *lines])
