"""`millrace nodes`: one file per command."""

from millrace.cli.tree import LazyGroup

_HERE = "millrace.cli.nodes"

app = LazyGroup(
    name="nodes",
    help="Look at the machines of the farm, and take them in and out of work.",
    commands={
        "invite": (f"{_HERE}.invite:invite", "Let one more machine join: print the command to run there."),
        "list": (f"{_HERE}.list:list_nodes", "List the machines of the farm."),
        "show": (f"{_HERE}.show:show", "Show a machine: what it offers, and what does not work there."),
        "drain": (f"{_HERE}.steer:drain", "Let a node finish what it has and give it no more."),
        "resume": (f"{_HERE}.steer:resume", "Give a draining node work again."),
        "release": (f"{_HERE}.steer:release", "Give a node in quarantine work again."),
        "revoke": (f"{_HERE}.steer:revoke", "End a node's own key; what it holds goes back to the queue."),
        "remove": (f"{_HERE}.steer:remove", "Forget a node that holds no task; its own key ends too."),
    },
)
