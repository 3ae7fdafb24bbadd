"""When a cron expression comes due, over changes of daylight-saving time.

The rules are Debian's cron(8), which cronsim follows. An expression that names its minutes and hours runs once at each: a time
that the clock skips in spring comes at the first moment after the gap, one that it shows twice in autumn counts the first time
only. One that begins its minutes or its hours with a star follows the clock: it runs in both of the doubled hours.
"""

from datetime import UTC, datetime, tzinfo

_NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELDS = 5
_ANY_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def next_after(expression: str, zone: str, moment: datetime) -> datetime:
    """The first time after `moment` (aware) at which it comes due, in UTC.

    Raises:
        ValueError: it is no such expression or zone, or it never comes due.
    """
    import cronsim  # noqa: PLC0415  23 ms, for which only who has a schedule shall wait

    text = _NICKNAMES.get(expression.strip().lower(), expression)
    if len(text.split()) != _FIELDS:
        raise ValueError("five fields are needed: minute, hour, day of the month, month, day of the week")
    try:
        times = cronsim.CronSim(text, moment.astimezone(_zone(zone)))
    except cronsim.CronSimError as error:
        raise ValueError(str(error).replace("Bad ", "its field cannot be used: ")) from error
    for found in times:
        due = found.astimezone(UTC)
        # In the doubled hour of autumn cronsim counts from the first of the two, which may be over.
        if due > moment:
            return due
    raise ValueError("it never comes due")


def local_time(zone: str, moment: datetime) -> datetime:
    """A moment as clocks show it there."""
    return moment.astimezone(_zone(zone))


def fault_in(expression: str) -> str | None:
    """What is wrong with an expression, as a phrase; None where it can be used."""
    try:
        next_after(expression, "UTC", _ANY_MOMENT)
    except ValueError as error:
        return str(error)
    return None


def is_zone(name: str) -> bool:
    """Whether a time zone of that name is known here."""
    try:
        _zone(name)
    except ValueError:
        return False
    return True


def _zone(name: str) -> tzinfo:
    import zoneinfo  # noqa: PLC0415  as above

    try:
        return zoneinfo.ZoneInfo(name)
    except (OSError, LookupError, ValueError) as error:  # a folder of zones, an unknown name, `../x`
        raise ValueError(f"no time zone is called {name}") from error
