"""`millrace keys`: one file per command, and one for the two that show a secret."""

from millrace.cli.tree import LazyGroup

_HERE = "millrace.cli.keys"

app = LazyGroup(
    name="keys",
    help="Say who may do what at the farm. All of it needs the key of an admin, such as that in the data folder.",
    commands={
        "create": (f"{_HERE}.secret:create", "Make an API key, and show its secret this once."),
        "list": (f"{_HERE}.list:list_keys", "List the API keys, and when each was used."),
        "rotate": (f"{_HERE}.secret:rotate", "Give an API key another secret."),
        "revoke": (f"{_HERE}.revoke:revoke", "End an API key."),
    },
)
