"""`millrace proof`: one file per command."""

from millrace.cli.tree import LazyGroup

app = LazyGroup(
    name="proof",
    help="Hold finished outputs against their proofs.",
    commands={
        "check": ("millrace.cli.proof.check:check", "Check that a finished output is what its proof says."),
    },
)
