"""Hooks, from their part of a plan."""

from collections.abc import Callable, Mapping
from pathlib import Path

from millrace.domain.document import kind_of
from millrace.supervisor.execution import account_from
from millrace.supervisor.hooks import Hook, Hooks, Moment
from millrace.supervisor.plans.reader import Reader


def hooks_of(reader: Reader, env_of: Callable[[Reader], Mapping[str, str]]) -> Hooks:
    """What stands under `hooks`: a list for each moment, such as `pre-start`."""
    inner = reader.inner("hooks")
    read = {moment: _list(inner, moment.value, env_of) for moment in Moment}
    inner.done()
    return {moment: hooks for moment, hooks in read.items() if hooks}


def _list(reader: Reader, key: str, env_of: Callable[[Reader], Mapping[str, str]]) -> tuple[Hook, ...]:
    value = reader.raw(key, [])
    if not isinstance(value, list):
        reader.report(key, f"must be a list of hooks, each with a command, not {kind_of(value)}")
        return ()
    path = reader.at(key)
    return tuple(
        _hook(Reader(entry, f"{path}[{index}]", reader.findings), f"{key}[{index}]", env_of)
        for index, entry in enumerate(value)
    )


def _hook(reader: Reader, usual_name: str, env_of: Callable[[Reader], Mapping[str, str]]) -> Hook:
    command = reader.command()
    working_dir = reader.text("working_dir", "", 4096)
    hook = Hook(
        name=reader.text("name", usual_name, 64),
        command=command,
        timeout_s=reader.duration("timeout", 30.0, 0.01),
        retries=reader.whole("retry", 0, 1000, 0),
        retry_delay_s=reader.duration("retry_delay", 1.0, 0.0, 3600.0),
        continue_on_error=reader.flag("continue_on_error", False),
        env=env_of(reader),
        working_dir=Path(working_dir) if working_dir else None,
        user=account_from(reader, "user"),
        group=account_from(reader, "group"),
    )
    reader.done()
    return hook
