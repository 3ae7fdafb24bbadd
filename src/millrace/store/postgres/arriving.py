"""Tasks that wait for bytes of an upload, on PostgreSQL."""

from collections.abc import Sequence

from millrace.domain.records import Arriving, InputWait, Task
from millrace.store import rows
from millrace.store.postgres.access import Access, number_of
from millrace.store.postgres.connection import Session


class ArrivingInputs(Access):
    """This part of a :class:`~millrace.store.store.Store`."""

    async def await_input(self, task_id: str, attempt: int, wait: InputWait) -> None:
        key = rows.position_of(task_id)
        if key is None:
            return

        async def unit(session: Session) -> None:
            await await_input(session, await number_of(session, key[0]), key[1], attempt, wait)

        await self._write(unit)

    async def note_arrival(self, upload: str, arrived: int) -> bool:
        return await self._write(lambda session: session.one("note_arrival", upload, arrived)) is not None

    async def arriving(self) -> Sequence[Arriving]:
        return [rows.arriving(row) for row in await self._read(lambda session: session.all("arriving"))]

    async def arrived_tasks(self, upload: str, *, arrived: int, is_all: bool, limit: int) -> Sequence[Task]:
        found = await self._read(lambda session: session.all("arrived_tasks", upload, arrived, is_all, limit))
        return [rows.task(row) for row in found]

    async def input_awaited(self, job_id: str, upload: str) -> Arriving | None:
        async def query(session: Session) -> Arriving | None:
            row = await session.one("input_awaited", await number_of(session, job_id), upload)
            return None if row is None else rows.input_awaited(row)

        return await self._read(query)

    async def forget_arriving(self, upload: str) -> None:
        async def unit(session: Session) -> None:
            await session.run("forget_input_waits", upload)
            await session.run("forget_arriving", upload)

        await self._write(unit)


async def await_input(session: Session, job: int, position: int, attempt: int, wait: InputWait) -> None:
    """From the moment in which the task is `pending`, still in this attempt, it waits."""
    await session.run("expect_upload", wait.upload, wait.size)
    await session.run("await_input", job, position, attempt, wait.upload, wait.bytes, rows.storable(wait.reason))
