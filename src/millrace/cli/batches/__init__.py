"""`millrace batches`: one file per command."""

from millrace.cli.tree import LazyGroup

_HERE = "millrace.cli.batches"

app = LazyGroup(
    name="batches",
    help="Look at many jobs that were submitted at once, and steer them. `millrace jobs submit --folder` or `--csv` makes a batch.",
    commands={
        "list": (f"{_HERE}.list:list_batches", "List batches, newest first."),
        "show": (f"{_HERE}.show:show", "Show a batch: how far it is, and what failed of it."),
        "watch": (f"{_HERE}.watch:watch", "Follow a batch to its end."),
        "cancel": (f"{_HERE}.steer:cancel", "End the jobs of a batch that have not ended."),
        "retry": (f"{_HERE}.steer:retry", "Run the jobs of a batch again that did not complete."),
    },
)
