"""What commands about tenants show."""

from millrace.cli import show
from millrace.cli.options import Output
from millrace.wire.v1.tenants import QuotaView, TenantView


def used(quota: QuotaView, *, sizes: bool = False) -> str:
    """How much of how much."""
    spelled = show.size if sizes else str
    return f"{spelled(quota.used)} of {'any' if quota.limit is None else spelled(quota.limit)}"


def record(tenant: TenantView, output: Output) -> None:
    """Print one tenant with all that is known of it."""
    if output is Output.JSON:
        show.json_document(tenant)
        return
    quotas = tenant.quotas
    show.lines(
        [
            ("tenant", tenant.tenant + ("  [dim](by default)[/dim]" if tenant.by_default else "")),
            ("concurrent", f"{used(quotas.concurrent)} tasks run"),
            ("queued", f"{used(quotas.queued)} jobs have not ended"),
            ("per day", f"{used(quotas.per_day)} jobs were accepted today (UTC)"),
            ("storage", f"{used(quotas.storage_bytes, sizes=True)} are kept"),
            ("weight", f"{tenant.weight} of its jobs for one of another tenant"),
            ("inputs", show.escape(", ".join(tenant.inputs)) or "any that workers allow"),
            ("outputs", show.escape(", ".join(tenant.outputs)) or "any that workers allow"),
            ("changed", show.moment(tenant.changed)),
        ]
    )
