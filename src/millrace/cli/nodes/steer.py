"""`millrace nodes drain`, `resume` and `remove`."""

from millrace.cli import show
from millrace.cli.options import DEFAULT_MASTER, KeyFileOption, MasterOption, NodeArgument, Output, OutputOption
from millrace.cli.session import connect
from millrace.client import people
from millrace.client.calls import Call
from millrace.wire.v1.work import NodeView


def _steer(call: Call[NodeView], master: str, key_file: KeyFileOption, output: Output) -> None:
    with connect(master, key_file) as client:
        found = client.do(call)
    if output is Output.JSON:
        show.json_document(found)
    else:
        print(f"node {found.name} is {found.state} and holds {found.holding} tasks")


def drain(
    node: NodeArgument,
    master: MasterOption = DEFAULT_MASTER,
    key_file: KeyFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Let a node finish what it has and give it no more."""
    _steer(people.drain_node(node), master, key_file, output)


def resume(
    node: NodeArgument,
    master: MasterOption = DEFAULT_MASTER,
    key_file: KeyFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give a draining node work again."""
    _steer(people.resume_node(node), master, key_file, output)


def remove(
    node: NodeArgument,
    master: MasterOption = DEFAULT_MASTER,
    key_file: KeyFileOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Forget a node that holds no task."""
    with connect(master, key_file) as client:
        client.do(people.remove_node(node))
    if output is Output.JSON:
        show.json_document({"removed": node})
    else:
        print(f"node {node} is removed")
