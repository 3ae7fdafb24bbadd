"""`millrace webhooks`: one file per command, and one for the two that show a secret."""

from millrace.cli.tree import LazyGroup

_HERE = "millrace.cli.webhooks"

app = LazyGroup(
    name="webhooks",
    help="Have URLs told of jobs, with signed messages, and see what they were told.",
    commands={
        "add": (f"{_HERE}.secret:add", "Have a URL told of jobs, and show the secret of its signatures this once."),
        "list": (f"{_HERE}.list:list_webhooks", "List the webhooks, and how many messages wait or were given up."),
        "remove": (f"{_HERE}.remove:remove", "Forget a webhook and its log."),
        "rotate": (f"{_HERE}.secret:rotate", "Give a webhook another secret."),
        "deliveries": (f"{_HERE}.deliveries:deliveries", "Show what a URL was told, and what it answered."),
        "replay": (f"{_HERE}.replay:replay", "Send a message again, or all that were given up."),
    },
)
