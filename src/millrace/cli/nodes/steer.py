"""`millrace nodes drain`, `resume`, `release`, `revoke` and `remove`."""

import click

from millrace.cli import show
from millrace.cli.options import Output, Target, node_argument, output_option, target_options
from millrace.cli.session import connect
from millrace.client import people
from millrace.client.calls import Call
from millrace.wire.v1.work import NodeView


def _steer(call: Call[NodeView], target: Target, output: Output) -> None:
    with connect(target) as client:
        found = client.do(call)
    if output is Output.JSON:
        show.json_document(found)
    else:
        print(f"node {found.name} is {found.state} and holds {found.holding} tasks")


@click.command()
@node_argument
@target_options
@output_option
def drain(
    node: str,
    target: Target,
    output: Output,
) -> None:
    """Let a node finish what it has and give it no more."""
    _steer(people.drain_node(node), target, output)


@click.command()
@node_argument
@target_options
@output_option
def resume(
    node: str,
    target: Target,
    output: Output,
) -> None:
    """Give a draining node work again."""
    _steer(people.resume_node(node), target, output)


@click.command()
@node_argument
@target_options
@output_option
def release(
    node: str,
    target: Target,
    output: Output,
) -> None:
    """Give a node work again that failed what others finished; `millrace nodes show` says what that was."""
    _steer(people.release_node(node), target, output)


@click.command()
@node_argument
@target_options
@output_option
def revoke(
    node: str,
    target: Target,
    output: Output,
) -> None:
    """End a node's own key. What it holds goes back to the queue now; it can only come back with another token."""
    _steer(people.revoke_node(node), target, output)


@click.command()
@node_argument
@target_options
@output_option
def remove(
    node: str,
    target: Target,
    output: Output,
) -> None:
    """Forget a node that holds no task. Its own key ends with it."""
    with connect(target) as client:
        client.do(people.remove_node(node))
    if output is Output.JSON:
        show.json_document({"removed": node})
    else:
        print(f"node {node} is removed")
