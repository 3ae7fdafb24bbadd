"""Run hooks, one after the other, and stop them when they are in the way."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from millrace.process.child import Child
from millrace.process.values import Batch, CannotStart, CannotStop, Sink, Spec
from millrace.runtime.clock import Clock
from millrace.supervisor.execution import Execution, spec_of
from millrace.supervisor.happenings import HookRan
from millrace.supervisor.hooks import Hook
from millrace.supervisor.plan import Plan, ProcessPlan
from millrace.supervisor.state import Hooked, Id, RunHooks
from millrace.telemetry.logs import logger

log = logger("supervisor")
GRACE_S = 2.0
"""How long a hook that is told to stop may take for it."""


class HookRuns:
    """The hooks that run now, of the whole and of each instance."""

    def __init__(
        self,
        plan: Callable[[], Plan],
        *,
        plan_of: Callable[[Id], ProcessPlan],
        named: Callable[[Id], Mapping[str, str]],
        clock: Clock,
        environ: Mapping[str, str],
        cwd: Path,
        output: Callable[[Id, Batch], Awaitable[None]],
        post: Callable[[Hooked], None],
        happened: Callable[[HookRan], None] = lambda _: None,
        tuned: Callable[[ProcessPlan], Mapping[str, str]] = lambda _: {},
        draw: Callable[[], float] = lambda: 0.5,
    ) -> None:
        """`plan` gives the plan in force, `plan_of` what an instance lives by, `named` the variables that name it. `output` gets what hooks of an instance
        print, the log what those of the whole print; `post` hears of the end of all, `happened` of each attempt. `tuned`
        gives the variables of a process's pool, or raises CannotStart; `draw` random numbers in [0, 1).
        """
        self._draw = draw
        self._plan = plan
        self._plan_of = plan_of
        self._named = named
        self._clock = clock
        self._environ = environ
        self._cwd = cwd
        self._output = output
        self._post = post
        self._happened = happened
        self._tuned = tuned
        self._tasks: dict[asyncio.Task[None], Id | None] = {}
        self._hurried = False
        self._closed = False

    def start(self, wanted: RunHooks) -> None:
        """Run the hooks of a moment; after `hurry` they are passed over."""
        if self._hurried:
            self._post(Hooked(wanted.id, wanted.run, wanted.moment, "there was no time left"))
            return
        task = asyncio.create_task(self._run(wanted))
        self._tasks[task] = wanted.id
        task.add_done_callback(self._tasks.pop)

    def halt(self, each: Id | None) -> None:
        """Stop what runs of one's hooks."""
        for task, owner in self._tasks.items():
            # One that stops already is let be: a second cancel would cut its stopping short.
            if owner == each and not task.cancelling():
                task.cancel()

    def hurry(self) -> None:
        """No more time for hooks."""
        self._hurried = True
        for owner in set(self._tasks.values()):
            self.halt(owner)

    async def close(self) -> None:
        """Stop all of them; returns when they have."""
        self._closed = True
        self.hurry()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _run(self, wanted: RunHooks) -> None:
        each, cwd, usual, own = wanted.id, self._cwd, Execution(), dict[str, str]()
        hooks = self._plan().hooks.get(wanted.moment, ())
        if each is not None:
            plan = self._plan_of(each)
            hooks, cwd = plan.hooks.get(wanted.moment, ()), plan.working_dir or cwd
            usual = Execution(user=plan.execution.user, group=plan.execution.group)
            # Where no size fits, the process itself says so when it starts.
            with suppress(CannotStart):
                own |= self._tuned(plan)
            own |= {**plan.env, **self._named(each)}

        def spec(hook: Hook) -> Spec:
            other = hook.user is not None or hook.group is not None
            return spec_of(
                Execution(user=hook.user, group=hook.group) if other else usual, command=hook.command,
                cwd=hook.working_dir or cwd, environ=self._environ, own={**own, **hook.env, "MILLRACE_HOOK": hook.name},
            )  # fmt: skip

        async def sink(batch: Batch) -> None:
            if each is not None:
                await self._output(each, batch)
                return
            for line in batch.lines:
                log.info("supervisor.hook_said", moment=wanted.moment.value, line=line.text)

        def tell(hook: str, attempt: int, at_s: float, fault: str | None) -> None:
            took_s = self._clock.monotonic() - at_s
            at = self._clock.now() - timedelta(seconds=took_s)
            self._happened(
                HookRan(id=each, moment=wanted.moment, hook=hook, attempt=attempt, at=at, took_s=took_s, fault=fault)
            )

        try:
            why = await run_hooks(
                hooks,
                spec=spec,
                clock=self._clock,
                sink=sink,
                grace_s=lambda: 0.0 if self._hurried else GRACE_S,
                tell=tell,
            )
        except asyncio.CancelledError:
            why = "the hooks were stopped"
        except CannotStop as error:
            why = str(error)
        owner = "" if each is None else str(each)
        log.info("supervisor.hooked", moment=wanted.moment.value, instance=owner, failure=why or "")
        if not self._closed:
            self._post(Hooked(each, wanted.run, wanted.moment, why, self._draw()))


async def run_hooks(
    hooks: tuple[Hook, ...],
    *,
    spec: Callable[[Hook], Spec],
    clock: Clock,
    sink: Sink,
    grace_s: Callable[[], float],
    tell: Callable[[str, int, float, str | None], None] = lambda *_: None,
) -> str | None:
    """Run all of them in order; None, or why the first one failed that may not: those after it have not run.

    `spec` says how each is started, or raises CannotStart; `tell` hears of each attempt: the hook's name, its number, when it began (monotonic seconds), why it failed. Cancelled, it stops the one that runs, with everything that it started, before it returns; `grace_s` is asked then.
    """
    for hook in hooks:
        why = None
        for attempt in range(hook.retries + 1):
            if attempt:
                await clock.sleep(hook.retry_delay_s)
            began_s = clock.monotonic()
            try:
                why = await _run(hook, spec, clock, sink, grace_s)
            except asyncio.CancelledError:
                tell(hook.name, attempt + 1, began_s, "was stopped")
                raise
            tell(hook.name, attempt + 1, began_s, why)
            if why is None:
                break
            log.warning("supervisor.hook_failed", hook=hook.name, attempt=attempt + 1, why=why)
        if why is not None and not hook.continue_on_error:
            return f"the hook {hook.name} failed: {why}"
    return None


async def _run(
    hook: Hook, spec: Callable[[Hook], Spec], clock: Clock, sink: Sink, grace_s: Callable[[], float]
) -> str | None:
    try:
        child = await Child.start(spec(hook), clock=clock, sink=sink)
    except CannotStart as error:
        return str(error)
    try:
        end = await clock.wait_for(child.wait(), hook.timeout_s)
    except TimeoutError:
        try:
            end = await child.stop(grace_s())
        except CannotStop as error:
            return str(error)
        return f"took longer than {hook.timeout_s:g} s, and was stopped"
    except CannotStop as error:
        return str(error)
    except BaseException:
        await child.stop(grace_s())
        raise
    if end.ok:
        return None
    said = [line.text for line in child.tail() if line.text.strip()]
    return f"{end}" + (f": {said[-1][:200]}" if said else "")
