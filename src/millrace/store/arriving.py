"""What a store keeps of inputs that still arrive: which uploads, and which tasks wait for how much of them.

The hot verbs know nothing of it. A task that waits is `pending`, so no claim sees it. That it waits holds for one attempt only, so a row
that is left over means nothing, and a task that is queued too early is handed back by its worker and waits again.
"""

from collections.abc import Sequence
from typing import Protocol

from millrace.domain.records import Arriving, InputWait, Task


class ArrivingInputs(Protocol):
    """Every method is one transaction, durable when it returns. `add_jobs` and `split` take waits, too."""

    async def await_input(self, task_id: str, attempt: int, wait: InputWait) -> None:
        """From the moment in which the task is `pending`, still in this attempt, it waits for these bytes."""

    async def note_arrival(self, upload: str, arrived: int) -> bool:
        """So many bytes of an upload have arrived, or more; whether anybody has begun to wait for it."""

    async def arriving(self) -> Sequence[Arriving]:
        """The uploads that jobs have begun to wait for."""

    async def arrived_tasks(self, upload: str, *, arrived: int, is_all: bool, limit: int) -> Sequence[Task]:
        """Tasks that wait for no more of it than so many bytes, those that need fewest first. Where that `is_all`, also those that were
        queued for nodes that can begin before.
        """

    async def input_awaited(self, job_id: str, upload: str) -> Arriving | None:
        """What a job waits for that names this upload, with the reason of its lead; None where the upload is not among those."""

    async def forget_arriving(self, upload: str) -> None:
        """All of it has arrived, or none will any more; what tasks still wait for it stays."""
