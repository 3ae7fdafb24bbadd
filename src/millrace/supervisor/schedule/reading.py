"""The schedule of a process, from its part of a plan."""

from urllib.parse import urlsplit

from millrace.domain.document import shown
from millrace.runtime.cron import fault_in, is_zone
from millrace.supervisor.plans.reader import Reader
from millrace.supervisor.schedule.values import MOST_AT_ONCE, Heartbeat, Overlap, Schedule

MAX_TIMEOUT_S = 30 * 86_400.0


def schedule_of(reader: Reader) -> Schedule | None:
    """The schedule; None where the process has none. What belongs to a schedule is refused without one."""
    expression = reader.text("schedule", "", 200)
    zone = reader.text("schedule_timezone", "UTC", 100)
    overlap, most = _overlap(reader)
    found = Schedule(
        expression=expression,
        zone=zone,
        timeout_s=reader.duration("schedule_timeout", 0.0, 0.0, MAX_TIMEOUT_S),
        overlap=overlap,
        max_concurrent=most,
        heartbeat=_heartbeat(reader),
    )
    if not expression:
        for key in ("schedule_timezone", "schedule_timeout", "schedule_max_concurrent", "overlap", "heartbeat"):
            if reader.has(key):
                reader.report(key, "is of no use without a schedule; add one, or take it out")
        return None
    if fault := fault_in(expression):
        reader.report("schedule", f"is {shown(expression)}: {fault}; give one such as */5 * * * *, or @hourly")
    if not is_zone(zone):
        reader.report(
            "schedule_timezone", f"is {shown(zone)}, and no time zone is called that; give one such as Europe/Berlin"
        )
    return found


def _overlap(reader: Reader) -> tuple[Overlap, int]:
    """What becomes of a time while as many runs go on as may, and how many may.

    `schedule_max_concurrent` is the predecessor's word: without `overlap`, 1 is to forbid and more, or 0 for any number, to allow.
    """
    given = reader.has("schedule_max_concurrent")
    most = reader.whole("schedule_max_concurrent", 0, MOST_AT_ONCE, 1)
    usual = Overlap.ALLOW if given and most != 1 else Overlap.FORBID
    found = Overlap(reader.word("overlap", Overlap, usual))
    if found is Overlap.ALLOW and not given:
        most = 0
    if found is Overlap.FORBID and most != 1:
        reader.report(
            "overlap",
            f"is forbid, so one run goes on at a time, and schedule_max_concurrent is {most}; use overlap: allow",
        )
    elif found is Overlap.ALLOW and most == 1:
        reader.report(
            "overlap",
            "is allow, and schedule_max_concurrent is 1; give 2 or more, 0 for no limit, or take one of them out",
        )
    return found, most


def _heartbeat(reader: Reader) -> Heartbeat | None:
    given = reader.has("heartbeat")
    inner = reader.inner("heartbeat")
    urls = {key: inner.text(key, "", 2000) for key in ("start_url", "success_url", "failure_url")}
    for key, url in urls.items():
        if url and not _is_url(url):
            inner.report(key, f"is {shown(url)}; give one such as https://hc-ping.com/your-uuid")
    if given and not any(urls.values()):
        inner.report("success_url", "is missing; give it, or start_url, or failure_url")
    found = Heartbeat(
        **urls,
        method=inner.word("method", ("POST", "GET"), "POST"),
        timeout_s=inner.duration("timeout", 30.0, 0.1, 600.0),
        retries=inner.whole("retries", 0, 100, 2),
        retry_delay_s=inner.duration("retry_delay", 5.0, 0.0, 3600.0),
    )
    inner.done()
    return found if given else None


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
