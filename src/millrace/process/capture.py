"""Run a short program to its end and keep what it said."""

from msgspec import Struct

from millrace.process.child import Child
from millrace.process.values import Batch, Exit, Spec
from millrace.runtime.clock import Clock


class Captured(Struct, frozen=True, kw_only=True):
    """How it ended and its output as text, lines joined by newlines.

    `cut`: there was more output than the limit, and the newest of it is missing.
    """

    exit: Exit
    stdout: str
    stderr: str
    timed_out: bool
    cut: bool


async def capture(
    spec: Spec, *, clock: Clock, timeout_s: float, grace_s: float = 2.0, max_chars: int = 4 * 1024 * 1024
) -> Captured:
    """Run `spec`, stop it after `timeout_s`, keep up to `max_chars` of each stream. Raises CannotStart and CannotStop.

    Cancelled: the child is stopped before this returns.
    """
    kept: dict[str, list[str]] = {"stdout": [], "stderr": []}
    size = {"stdout": 0, "stderr": 0}
    cut = False

    async def keep(batch: Batch) -> None:
        nonlocal cut
        cut = cut or batch.dropped > 0
        for line in batch.lines:
            text = line.text if line.partial else line.text + "\n"
            size[line.stream] += len(text)
            if size[line.stream] > max_chars:
                cut = True
            else:
                kept[line.stream].append(text)

    child = await Child.start(spec, clock=clock, sink=keep)
    timed_out = False
    try:
        end = await clock.wait_for(child.wait(), timeout_s)
    except TimeoutError:
        timed_out = True
        end = await child.stop(grace_s)
    except BaseException:
        await child.stop(0)
        raise
    return Captured(
        exit=end, stdout="".join(kept["stdout"]), stderr="".join(kept["stderr"]), timed_out=timed_out, cut=cut
    )
