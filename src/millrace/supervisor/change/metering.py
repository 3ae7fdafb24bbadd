"""Read metrics again and again, and say what they are."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from millrace.process.capture import capture
from millrace.process.values import CannotStart, CannotStop, Spec
from millrace.runtime.clock import Clock
from millrace.supervisor.change.values import Autoscale, Metric
from millrace.supervisor.health.http_probe import NoAnswer, fetch, judge
from millrace.supervisor.health.values import HttpCheck
from millrace.supervisor.plan import Plan
from millrace.supervisor.state import Event, Measured


class Meters:
    """One for each process that follows a metric."""

    def __init__(self, *, clock: Clock, spec_of: Callable[[str], Spec], post: Callable[[Event], None]) -> None:
        """A command runs as `spec_of` says of its process: as its user, in its folder."""
        self._clock = clock
        self._spec_of = spec_of
        self._post = post
        self._tasks: dict[str, tuple[Autoscale, asyncio.Task[None]]] = {}
        self._parting: set[asyncio.Task[None]] = set()

    def follow(self, plan: Plan) -> None:
        """Read what this plan says from now on; what it says as before goes on."""
        wanted = {name: process.autoscale for name, process in plan.processes.items()}
        for name, (known, _) in tuple(self._tasks.items()):
            if wanted.get(name) != known:
                self._drop(name)
        for name, rule in wanted.items():
            if rule is not None and name not in self._tasks:
                self._tasks[name] = (rule, asyncio.create_task(self._read(name, rule), name=f"metric of {name}"))

    async def close(self) -> None:
        """Return when nothing is asked any more."""
        for name in tuple(self._tasks):
            self._drop(name)
        await asyncio.gather(*self._parting, return_exceptions=True)

    def _drop(self, name: str) -> None:
        _, task = self._tasks.pop(name)
        task.cancel()
        self._parting.add(task)
        task.add_done_callback(self._parting.discard)

    async def _read(self, name: str, rule: Autoscale) -> None:
        while True:
            await self._clock.sleep(rule.interval_s)
            value, why = await measure(rule.metric, spec=partial(self._spec_of, name), clock=self._clock)
            self._post(Measured(name, self._clock.monotonic(), value, why))


async def measure(metric: Metric, *, spec: Callable[[], Spec], clock: Clock) -> tuple[float | None, str]:
    """The number, or None and why there is none, as a phrase. Takes no longer than `timeout_s` and leaves nothing behind."""
    try:
        if metric.url:
            text = await clock.wait_for(_fetched(metric.url), metric.timeout_s)
        else:
            text = await _printed(metric, spec(), clock)
        return number_in(text, metric.field), ""
    except TimeoutError:
        return None, f"no metric within {metric.timeout_s:g} s"
    except (OSError, ValueError, NoAnswer, CannotStart, CannotStop) as error:
        return None, str(error) or type(error).__name__


def number_in(text: str, field: str) -> float:
    """The number that a text is, or that stands in a JSON document at a path such as `queue.0.length`.

    Raises:
        ValueError: there is none; the message is a phrase.
    """
    if not field:
        try:
            return float(text)
        except ValueError:
            raise ValueError(f"the metric is {text.strip()[:60]!r}, which is no number") from None
    try:
        found: Any = msgspec.json.decode(text)
        for part in field.split("."):
            found = found[int(part)] if isinstance(found, list) else found[part]
        return float("" if isinstance(found, bool) else found)
    except (msgspec.DecodeError, LookupError, TypeError, ValueError):
        raise ValueError(f"the metric has no number at {field}") from None


async def _fetched(url: str) -> str:
    check = HttpCheck(url=url, statuses=((200, 299),))
    answer = await fetch(check, wants_body=True)
    if (why := judge(check, answer)) is not None:
        raise NoAnswer(f"the metric's server {why}")
    return answer.body.decode("utf-8", "replace")


async def _printed(metric: Metric, spec: Spec, clock: Clock) -> str:
    done = await capture(
        replace(spec, argv=metric.command), clock=clock, timeout_s=metric.timeout_s, grace_s=0.0, max_chars=65_536
    )
    if done.timed_out:
        raise TimeoutError
    if not done.exit.ok:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ValueError(f"the metric's command {done.exit}" + (f": {said[-1][:200]}" if said else ""))
    return done.stdout
