"""Tasks that wait for bytes of an upload, on SQLite."""

from collections.abc import Sequence

from millrace.domain.records import Arriving, InputWait, Task
from millrace.store import rows
from millrace.store.sqlite.access import Access, number_of
from millrace.store.sqlite.connection import Session


class ArrivingInputs(Access):
    """This part of a :class:`~millrace.store.store.Store`."""

    async def await_input(self, task_id: str, attempt: int, wait: InputWait) -> None:
        key = rows.position_of(task_id)
        if key is not None:
            await self._write(lambda session: await_input(session, number_of(session, key[0]), key[1], attempt, wait))

    async def note_arrival(self, upload: str, arrived: int) -> bool:
        return await self._write(lambda session: session.one("note_arrival", upload, arrived) is not None)

    async def arriving(self) -> Sequence[Arriving]:
        return await self._read(lambda session: [rows.arriving(row) for row in session.all("arriving")])

    async def arrived_tasks(self, upload: str, *, arrived: int, is_all: bool, limit: int) -> Sequence[Task]:
        return await self._read(
            lambda session: [rows.task(row) for row in session.all("arrived_tasks", upload, arrived, is_all, limit)]
        )

    async def input_awaited(self, job_id: str, upload: str) -> Arriving | None:
        row = await self._read(lambda session: session.one("input_awaited", number_of(session, job_id), upload))
        return None if row is None else rows.input_awaited(row)

    async def forget_arriving(self, upload: str) -> None:
        def unit(session: Session) -> None:
            session.run("forget_input_waits", upload)
            session.run("forget_arriving", upload)

        await self._write(unit)


def await_input(session: Session, job: int, position: int, attempt: int, wait: InputWait) -> None:
    """From the moment in which the task is `pending`, still in this attempt, it waits."""
    session.run("expect_upload", wait.upload, wait.size)
    session.run("await_input", job, position, attempt, wait.upload, wait.bytes, rows.storable(wait.reason))
