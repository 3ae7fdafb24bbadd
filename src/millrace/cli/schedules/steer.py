"""`millrace schedules pause`, `resume`, `trigger` and `remove`."""

from typing import Literal

import click

from millrace.cli import show
from millrace.cli.options import Output, Target, output_option, schedule_argument, target_options
from millrace.cli.session import connect
from millrace.client import many


def _steer(schedule: str, verb: Literal["pause", "resume"], target: Target, output: Output) -> None:
    with connect(target) as client:
        found = client.do(many.steer_schedule(schedule, verb))
    if output is Output.JSON:
        show.json_document(found)
    else:
        print(f"schedule {found.name} " + (f"comes due at {show.moment(found.due)}" if found.due else "is paused"))


@click.command()
@schedule_argument
@target_options
@output_option
def pause(schedule: str, target: Target, output: Output) -> None:
    """Let no time of a schedule come until it is resumed; its jobs go on."""
    _steer(schedule, "pause", target, output)


@click.command()
@schedule_argument
@target_options
@output_option
def resume(schedule: str, target: Target, output: Output) -> None:
    """Let times of a schedule come again, from now on; those that came meanwhile are passed over."""
    _steer(schedule, "resume", target, output)


@click.command()
@schedule_argument
@target_options
@output_option
def trigger(schedule: str, target: Target, output: Output) -> None:
    """Submit the job of a schedule now, whether it is paused or not."""
    with connect(target) as client:
        run = client.do(many.trigger_schedule(schedule))
    if output is Output.JSON:
        show.json_document(run)
    else:
        print(f"job {run.job} is {run.state}")


@click.command()
@schedule_argument
@target_options
@output_option
def remove(schedule: str, target: Target, output: Output) -> None:
    """Forget a schedule with its history; its jobs stay."""
    with connect(target) as client:
        client.do(many.remove_schedule(schedule))
    if output is Output.JSON:
        show.json_document({"removed": schedule})
    else:
        print(f"schedule {schedule} is removed")
