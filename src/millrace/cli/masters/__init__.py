"""`millrace masters`: one file per command."""

from millrace.cli.tree import LazyGroup

app = LazyGroup(
    name="masters",
    help="Look at the masters of the farm.",
    commands={
        "list": ("millrace.cli.masters.list:list_masters", "List the masters of the farm, and say which one leads.")
    },
)
