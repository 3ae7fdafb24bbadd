"""What the processes use: now, and over the last minutes."""

from datetime import UTC, datetime

from millrace.edge.call import Call
from millrace.edge.refusal import invalid
from millrace.supervisor.control.rest import instances_of
from millrace.supervisor.control.supervisor import Supervisor
from millrace.supervisor.resources import KEPT_S, PERIOD_S, Sample
from millrace.wire.v1.problems import FieldError
from millrace.wire.v1.supervise import InstanceUsage, ResourcesView, UsageView

MAX_SAMPLES = 1000


async def show_all(supervisor: Supervisor, call: Call[None]) -> ResourcesView:
    """The newest sample of every instance that runs."""
    call.only()
    now = await supervisor.resources.watched()
    return _view(
        [
            InstanceUsage(process=each.process, instance=str(each), samples=[usage_view(sample)])
            for each, sample in sorted(now.items())
        ]
    )


async def show(supervisor: Supervisor, call: Call[None]) -> ResourcesView:
    """The samples of one process, up to now."""
    call.only("since", "limit")
    name = supervisor.process(call.path["name"]).name
    since, limit = moment(call), call.integer("limit", least=1, most=MAX_SAMPLES) or MAX_SAMPLES
    await supervisor.resources.watched()
    past = supervisor.resources.past
    return _view(
        [
            InstanceUsage(
                process=name, instance=str(each), samples=[*map(usage_view, past(each, since=since, limit=limit))]
            )
            for each, _ in instances_of(supervisor.keeper.state, name)
        ]
    )


def usage_view(sample: Sample) -> UsageView:
    """A sample as it is told."""
    usage = sample.usage
    return UsageView(
        at=sample.at,
        cpu_s=round(sample.cpu_s, 3),
        cpu_percent=None if sample.cpu_share is None else round(sample.cpu_share * 100, 1),
        rss_bytes=usage.rss_bytes,
        pss_bytes=usage.pss_bytes,
        read_bytes=usage.read_bytes,
        written_bytes=usage.written_bytes,
        processes=usage.processes,
        threads=usage.threads,
        descriptors=usage.descriptors,
    )


def _view(instances: list[InstanceUsage]) -> ResourcesView:
    return ResourcesView(period_s=PERIOD_S, kept_s=KEPT_S, instances=instances)


def moment(call: Call[None]) -> datetime | None:
    """`since`, as RFC 3339 or in seconds since 1970."""
    text = call.one("since")
    if text is None:
        return None
    try:
        found = (
            datetime.fromtimestamp(float(text), UTC)
            if text.replace(".", "", 1).isdigit()
            else datetime.fromisoformat(text.replace(" ", "+"))  # what a plus becomes in a query
        )
    except (ValueError, OverflowError, OSError):
        found = None
    if found is None or found.tzinfo is None:
        raise invalid(
            FieldError(field="since", message="must be a time such as 2026-01-31T12:00:00Z, or seconds since 1970")
        )
    return found
