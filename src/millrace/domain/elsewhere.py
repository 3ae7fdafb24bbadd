"""Another node first: a task that failed on a node is offered to others for a while. Pure."""

from collections.abc import Collection, Sequence

AVOID_S = 30.0
"""For so long after a task is queued again, the nodes that it avoids are not given it; then it may go to anybody."""
FIRST_LOSS_THAT_AVOIDS = 2
"""A worker that was killed and is back takes its own work again at once: the first loss is mostly no fault of the task."""


def avoided(failed_on: Sequence[str], able: Collection[str]) -> tuple[str, ...]:
    """The nodes that a task had better not go to next.

    Args:
        failed_on: the nodes on which it failed or was lost, in that order; the last is the one that counts most.
        able: the nodes that take work now and could run it.

    All on which it failed, as long as there is another; else the last of them, as long as there is another; else none, or a
    farm of one node would only wait.
    """
    tried = tuple(dict.fromkeys(failed_on))
    if not set(able) <= set(tried):
        return tried
    last = failed_on[-1:]
    return tuple(last) if set(able) - set(last) else ()
