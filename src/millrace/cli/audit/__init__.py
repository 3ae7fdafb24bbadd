"""`millrace audit`: one file per command."""

from millrace.cli.tree import LazyGroup

_HERE = "millrace.cli.audit"

app = LazyGroup(
    name="audit",
    help="Look at who changed what at the farm. All of it needs the key of an admin, such as that in the data folder.",
    commands={
        "list": (f"{_HERE}.list:list_entries", "Show who changed what, and who was turned away."),
        "verify": (f"{_HERE}.verify:verify", "Check that nothing in the audit trail was changed or taken out."),
    },
)
