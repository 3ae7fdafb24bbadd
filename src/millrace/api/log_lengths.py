"""How long the logs of ended attempts are."""

from collections import OrderedDict

from millrace.domain.records import Attempt

_REMEMBERED = 10_000


class Lengths:
    """How long the logs of ended attempts are: they grow no more, so a follower need not read them again and again."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._known: OrderedDict[tuple[str, int], int] = OrderedDict()

    def known(self, attempt: Attempt) -> int | None:
        """The length in bytes, or None where it was not read to the end yet."""
        return self._known.get((attempt.task_id, attempt.attempt))

    def learn(self, attempt: Attempt, length: int) -> None:
        """Remember how long it is; an attempt that runs may still grow."""
        if attempt.ended_at is not None:
            self._known[attempt.task_id, attempt.attempt] = length
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
