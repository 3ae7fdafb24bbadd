"""Who may write the log of an attempt: the node that it was given to, while it runs and after its end."""

from collections import OrderedDict

from millrace.domain import ids
from millrace.edge.refusal import not_found
from millrace.scheduler.errors import StaleAttemptError
from millrace.store.store import Store

_REMEMBERED = 10_000


class Writers:
    """The nodes of attempts. An attempt never changes its node, so each is read once, not with every piece of a log."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._known: OrderedDict[tuple[str, int], str] = OrderedDict()

    async def check(self, store: Store, task_id: str, attempt: int, *, node_id: str) -> None:
        """Pass where the attempt is or was this node's.

        The last lines of a log come after the report that ended the attempt, and those of a worker that was cut off
        long after; so it does not matter who holds the task now.

        Raises:
            RefusalError: 404, there is no such attempt.
            StaleAttemptError: it is another node's.
        """
        key = (task_id, attempt)
        writer = self._known.get(key)
        if writer is None:
            writer = await _node_of(store, task_id, attempt)
            self._known[key] = writer
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        if writer != node_id:
            raise StaleAttemptError(
                f"cannot take the log of attempt {attempt} of {task_id}: another node was given it; drop the work"
            )


async def _node_of(store: Store, task_id: str, attempt: int) -> str:
    if ids.is_task_id(task_id):
        for one in await store.attempts(ids.job_of(task_id)):
            if (one.task_id, one.attempt) == (task_id, attempt):
                return one.node_id
    raise not_found(f"there is no attempt {attempt} of a task {task_id[:64]!r}")
