"""A master and a worker that start side by side: whatever keeps one from starting ends the other."""

import asyncio
import socket
from collections.abc import Awaitable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from millrace.client import people
from millrace.client.async_client import AsyncClient
from millrace.client.http import Terms
from millrace.config.settings import MasterSettings, SettingError, WorkerSettings
from millrace.programs.all_in_one import AllInOne
from millrace.programs.api_key import FILE

PATIENCE_S = 60.0


async def _good() -> None:
    return


def a_farm(folder: Path, checked: Awaitable[None]) -> AllInOne:
    master = MasterSettings(data=folder / "data", port=0)
    return AllInOne(master, WorkerSettings(sandbox="off"), checked=checked, shape=lambda terms: terms)


def listens(farm: AllInOne) -> bool:
    where = urlsplit(farm.url)
    with socket.socket() as asking:
        return asking.connect_ex((where.hostname, where.port)) == 0


async def nothing_runs() -> bool:
    """Whether all that is left ends by itself: trials of encoders stop their children first."""
    others = {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}
    return not others or not (await asyncio.wait(others, timeout=PATIENCE_S))[1]


def test_a_farm_is_there_with_its_worker_and_its_key_is_kept_nowhere(tmp_path: Path) -> None:
    async def main() -> None:
        async with a_farm(tmp_path, _good()) as farm:
            async with AsyncClient([farm.url], Terms(key=farm.key)) as client:
                (node,) = (await client.do(people.nodes())).nodes
                assert node.state == "ready"
            assert not (tmp_path / "data" / FILE).exists()
        assert not listens(farm)
        assert await nothing_runs()

    asyncio.run(main())


def test_an_engine_that_is_none_ends_the_master_too(tmp_path: Path) -> None:
    async def refuse() -> None:
        raise SettingError("cannot use it")

    async def main() -> None:
        farm = a_farm(tmp_path, refuse())
        with pytest.raises(SettingError, match="cannot use it"):
            await farm.start()
        assert farm.url
        assert not listens(farm)
        assert await nothing_runs()

    asyncio.run(main())


def test_a_master_that_cannot_start_ends_the_worker_that_waits_for_it(tmp_path: Path) -> None:
    (tmp_path / "data" / "millrace.db").mkdir(parents=True)

    async def main() -> None:
        farm = a_farm(tmp_path, _good())
        with pytest.raises(SettingError, match=r"millrace\.db"):
            await farm.start()
        assert not listens(farm)
        assert await nothing_runs()

    asyncio.run(main())


def test_a_stop_in_the_middle_of_the_start(tmp_path: Path) -> None:
    async def main() -> None:
        farm = a_farm(tmp_path, asyncio.get_running_loop().create_future())
        starting = asyncio.ensure_future(farm.start())
        while not farm.url:
            await asyncio.sleep(0)
        await farm.stop()
        await asyncio.wait((starting,))
        assert not listens(farm)
        assert await nothing_runs()

    asyncio.run(main())
