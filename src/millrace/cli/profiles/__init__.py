"""`millrace profiles`: one file per command."""

from millrace.cli.tree import LazyGroup

_HERE = "millrace.cli.profiles"

app = LazyGroup(
    name="profiles",
    help="Look at the profiles that come with Millrace, and check your own.",
    commands={
        "list": (f"{_HERE}.list:list_profiles", "List the profiles that come with Millrace."),
        "show": (f"{_HERE}.show:show", "Print a profile as YAML."),
        "check": (f"{_HERE}.check:check", "Check a profile file; print every fault at once."),
    },
)
