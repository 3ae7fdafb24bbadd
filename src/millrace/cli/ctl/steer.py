"""`millrace ctl start`, `stop`, `restart` and `scale`."""

import re
from collections.abc import Sequence

import click

from millrace.cli import show
from millrace.cli.ctl.session import Control, control_options, known_names, supervisor, wait_option
from millrace.cli.options import Output, output_option
from millrace.client import supervise
from millrace.client.calls import Call
from millrace.wire.v1.supervise import ProcessView, ScaleRequest, SteerView

_COUNT = re.compile(r"([+-]?)(\d{1,9})\Z")


_waits = wait_option(60, "Wait so long for it to come to rest; 0 does not wait.")


def _steer(steps: Sequence[Call[SteerView]], control: Control, output: Output, wait: int) -> int:
    """Do one after the other; 1 where one did not come to the state that was asked for."""
    with supervisor(control) as client:
        found = [client.do(step) for step in steps]
    if output is Output.JSON:
        show.json_document([one.process for one in found])
    else:
        for one in found:
            print(_sentence(one.process) + ("" if one.settled else "; it has not come to rest yet"))
    missed = any(one.process.halted or (one.process.state == "failed" and one.process.desired) for one in found)
    late = wait > 0 and not all(one.settled for one in found)
    return 1 if missed or late else 0


def _sentence(process: ProcessView) -> str:
    reasons = dict.fromkeys(one.reason for one in process.instances if one.state == process.state and one.reason)
    shown = f" ({process.ready} of {process.desired} ready)" if process.desired and process.type == "service" else ""
    why = f": {'; '.join(reasons)}" if reasons else ""
    halted = f"; replacing has halted: {process.halted}" if process.halted else ""
    return f"{process.name} is {process.state}{shown}{why}{halted}"


def _verb(name: str, names: tuple[str, ...], wait: int, control: Control, output: Output) -> int:
    return _steer([supervise.steer(each, name, wait_s=wait) for each in names], control, output, wait)


_names = click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=known_names)


@click.command()
@_names
@_waits
@control_options
@output_option
def start(names: tuple[str, ...], wait: int, control: Control, output: Output) -> int:
    """Start processes, also those that were given up; exit 1 where one does not get ready."""
    return _verb("start", names, wait, control, output)


@click.command()
@_names
@_waits
@control_options
@output_option
def stop(names: tuple[str, ...], wait: int, control: Control, output: Output) -> int:
    """Stop processes, and leave them stopped."""
    return _verb("stop", names, wait, control, output)


@click.command()
@_names
@click.option("--rolling", is_flag=True, help="One instance after the other, so that the others serve.")
@_waits
@control_options
@output_option
def restart(names: tuple[str, ...], rolling: bool, wait: int, control: Control, output: Output) -> int:
    """Stop processes and start them again; exit 1 where one does not get ready.

    With --rolling, an instance is replaced when the one before it is up, as `rolling` in the plan says; the first that
    does not get up halts it, and the others go on serving.
    """
    steps = [supervise.steer(each, "restart", wait_s=wait, rolling=rolling) for each in names]
    return _steer(steps, control, output, wait)


@click.command()
@click.argument("scales", metavar="NAME=N...", nargs=-1, required=True)
@_waits
@control_options
@output_option
def scale(scales: tuple[str, ...], wait: int, control: Control, output: Output) -> int:
    """Have N instances of a process, or +N more, or -N fewer; 0 stops it.

    A process with `autoscale` stays there until NAME=auto lets it follow its metric again.
    """
    steps = []
    for text in scales:
        name, _, count = text.partition("=")
        found = _COUNT.match(count)
        if name and count == "auto":
            steps.append(supervise.steer(name, "scale", wait_s=wait, request=ScaleRequest(auto=True)))
            continue
        if not name or found is None:
            raise click.BadParameter(f"{text!r} is no NAME=N, such as web=3, web=+1 or web=-1", param_hint="NAME=N")
        request = ScaleRequest(delta=int(count)) if found[1] else ScaleRequest(desired=int(count))
        steps.append(supervise.steer(name, "scale", wait_s=wait, request=request))
    return _steer(steps, control, output, wait)
