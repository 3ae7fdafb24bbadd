"""`millrace ctl schedule`: the times of scheduled processes."""

from collections.abc import Sequence

import click

from millrace.cli import show
from millrace.cli.ctl.session import Control, control_options, known_names, supervisor, wait_option
from millrace.cli.options import Output, output_option
from millrace.client import supervise
from millrace.client.calls import Call
from millrace.wire.v1.supervise import ScheduleView


@click.group(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})
def app() -> None:
    """Look at the times of scheduled processes, pause and resume them, stop a run."""


_names = click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=known_names)


@app.command("show")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=known_names)
@control_options
@output_option
def show_schedules(names: tuple[str, ...], control: Control, output: Output) -> None:
    """Show when processes run next, and how their runs went; without a name, of all."""
    with supervisor(control) as client:
        if not names:
            names = tuple(one.name for one in client.do(supervise.processes()).processes if one.type == "scheduled")
        found = [client.do(supervise.schedule(name)) for name in names]
    _show(found, output)


@app.command("pause")
@_names
@control_options
@output_option
def pause(names: tuple[str, ...], control: Control, output: Output) -> None:
    """Pass the times of processes over. A run that goes on is left alone, and `trigger` still works."""
    _do([supervise.pause_schedule(name, paused=True) for name in names], control, output)


@app.command("resume")
@_names
@control_options
@output_option
def resume(names: tuple[str, ...], control: Control, output: Output) -> None:
    """Heed the times of processes again."""
    _do([supervise.pause_schedule(name, paused=False) for name in names], control, output)


@app.command("stop")
@click.argument("name", metavar="NAME", shell_complete=known_names)
@click.argument("run", metavar="RUN", type=click.IntRange(min=1))
@wait_option(60, "Wait so long for its end; 0 does not wait.")
@control_options
@output_option
def stop(name: str, run: int, wait: int, control: Control, output: Output) -> int:
    """Stop one RUN of a scheduled process, by its number, and no other; its times go on. One that waits does not begin."""
    with supervisor(control) as client:
        found = client.do(supervise.stop_run(name, run, wait_s=wait))
    if output is Output.JSON:
        show.json_document(found)
    elif found.settled:
        print(f"run {run} of {name} {found.run.outcome}: {show.escape(found.run.how)}")
    else:
        print(f"run {run} of {name} was told to stop")
    return 1 if wait and not found.settled else 0


def _do(steps: Sequence[Call[ScheduleView]], control: Control, output: Output) -> None:
    with supervisor(control) as client:
        found = [client.do(step) for step in steps]
    _show(found, output)


def _show(found: Sequence[ScheduleView], output: Output) -> None:
    if output is Output.JSON:
        show.json_document({"schedules": found})
        return
    rows = [
        (
            one.process, f"{one.expression} {one.timezone}", one.state,
            ", ".join(f"{run.number} ({show.escape(run.instance)})" for run in one.current) or "-", show.moment(one.next_run),
            "-" if one.last_run is None else f"{one.last_run.outcome} {show.moment(one.last_run.ended)}",
            str(sum(one.counts.values())), str(one.counts.get("succeeded", 0)),
        )
        for one in found
    ]  # fmt: skip
    columns = ("name", "schedule", "state", "going on", "next run", "last run", "runs", "succeeded")
    show.table(columns, rows, empty="nothing is scheduled", blocks=True)
