"""The command line: one tree of commands."""

import gc
from typing import NoReturn

import click

import millrace
from millrace.cli.ending import end_with
from millrace.cli.main import INTERRUPTED
from millrace.cli.tree import LazyGroup

app = LazyGroup(
    name="millrace",
    help="Turn video into other video, on as many machines as you have.",
    commands={
        "transcode": ("millrace.cli.cmd_transcode:transcode", "Turn a film into other video, here and now."),
        "up": ("millrace.cli.cmd_up:up", "Run a whole farm on this machine."),
        "master": ("millrace.cli.cmd_master:master", "Run a master: it keeps jobs and gives them to workers."),
        "worker": ("millrace.cli.cmd_worker:worker", "Run a worker: it asks masters for work and does it."),
        "jobs": ("millrace.cli.jobs:app", "Submit jobs, look at them, and steer them."),
        "batches": ("millrace.cli.batches:app", "Look at many jobs that were submitted at once, and steer them."),
        "schedules": ("millrace.cli.schedules:app", "Have jobs submitted again and again, at times."),
        "proof": ("millrace.cli.proof:app", "Hold finished outputs against their proofs."),
        "watch": ("millrace.cli.watch.command:watch", "Submit every film that comes into a folder."),
        "nodes": ("millrace.cli.nodes:app", "Look at the machines of the farm, and take them in and out of work."),
        "masters": ("millrace.cli.masters:app", "Look at the masters of the farm."),
        "keys": ("millrace.cli.keys:app", "Say who may do what at the farm: make API keys, rotate and revoke them."),
        "tenants": ("millrace.cli.tenants:app", "Say how much of the farm each tenant may use, and see what it uses."),
        "webhooks": ("millrace.cli.webhooks:app", "Have URLs told of jobs, and see what they were told."),
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


def run() -> NoReturn:
    """Run the command that the arguments name, and end the program with its exit code."""
    # Most objects made while modules are imported live as long as the program: looking through them for garbage again
    # and again takes a sixth of the start. `transcode` and the servers turn the collector on once they are up.
    gc.disable()
    end_with(_run)


def _run() -> object:
    try:
        return app.main(prog_name="millrace", standalone_mode=False)
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return INTERRUPTED
