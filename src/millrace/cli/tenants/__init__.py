"""`millrace tenants`: one file per command."""

from millrace.cli.tree import LazyGroup

_HERE = "millrace.cli.tenants"

app = LazyGroup(
    name="tenants",
    help="Say how much of the farm each tenant may use, and see what it uses.",
    commands={
        "list": (f"{_HERE}.list:list_tenants", "List the tenants that were limited, with what they use."),
        "show": (f"{_HERE}.view:view", "Show a tenant: its quotas, what it uses, and the places that it may name."),
        "set": (f"{_HERE}.set:set_tenant", "Limit a tenant, or change its limits."),
        "remove": (f"{_HERE}.remove:remove", "Forget what was said of a tenant."),
    },
)
