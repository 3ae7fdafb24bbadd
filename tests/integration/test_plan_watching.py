# ruff: noqa: ASYNC240  the files are changed under a watch, and that is what is tested
"""The files of a plan are watched as editors, deployments and Kubernetes change them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from millrace.runtime.clock import SystemClock
from millrace.supervisor.change.watching import folders, watch
from millrace.supervisor.plans.file import PlanFile

PATIENCE_S = 30.0


class Watched:
    """A watch over a plan, and how often it called."""

    def __init__(self, path: Path) -> None:
        self.calls = 0
        self._news = asyncio.Event()
        self.ready = asyncio.Event()
        self.source = PlanFile(path, {})
        self.task = asyncio.create_task(
            watch(
                self._files, self._changed, clock=SystemClock(), debounce_s=0.05, watching=self.ready.set
            )
        )  # fmt: skip

    async def _files(self) -> list[Path]:
        return self.source.files()

    def _changed(self) -> None:
        self.calls += 1
        self._news.set()

    async def called(self) -> None:
        """Wait for the next call."""
        async with asyncio.timeout(PATIENCE_S):
            await self._news.wait()
        self._news.clear()


def play(path: Path, game: Callable[[Watched], Awaitable[None]]) -> None:
    async def whole() -> None:
        it = Watched(path)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await it.ready.wait()
            await game(it)
        finally:
            it.task.cancel()
            await asyncio.gather(it.task, return_exceptions=True)

    before = len(list(Path("/proc/self/fd").iterdir()))
    asyncio.run(whole())
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def text(word: str, *includes: str) -> str:
    return f"include: [{', '.join(includes)}]\nprocesses: {{web: {{command: [{word}]}}}}\n"


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.yaml"
    path.write_text(text("a"))
    return path


def test_a_file_that_is_written_in_place_or_renamed_over_again_and_again(plan: Path) -> None:
    async def game(it: Watched) -> None:
        for index in range(3):
            plan.write_text(text(f"in-place-{index}"))
            await it.called()
            other = plan.with_name(".plan.yaml.tmp")
            other.write_text(text(f"renamed-{index}"))
            other.replace(plan)
            await it.called()
        plan.unlink()
        await it.called()
        plan.write_text(text("back"))
        await it.called()

    play(plan, game)


def test_an_editor_that_keeps_swap_files_and_a_backup_is_heard_once_it_saves(plan: Path) -> None:
    async def game(it: Watched) -> None:
        swap = plan.with_name(".plan.yaml.swp")
        for index in range(20):
            swap.write_text(str(index))
        plan.touch()
        plan.write_text(plan.read_text())
        # As vim saves with backupcopy=no: the old one is renamed away, a new one written, the old one removed.
        backup = plan.with_name("plan.yaml~")
        plan.rename(backup)
        plan.write_text(text("saved"))
        backup.unlink()
        swap.unlink()
        await it.called()
        plan.write_text(text("again"))
        await it.called()
        assert it.calls == 2

    play(plan, game)


def test_many_writes_are_one_change(plan: Path) -> None:
    async def game(it: Watched) -> None:
        for index in range(50):
            plan.write_text(text(f"w{index}"))
        await it.called()
        plan.write_text(text("end"))
        await it.called()
        assert it.calls == 2

    play(plan, game)


def config_map(folder: Path, version: str, **files: str) -> None:
    """As the kubelet publishes a ConfigMap: a folder per version, and one link that is renamed over."""
    there = folder / f"..{version}"
    there.mkdir()
    for name, content in files.items():
        (there / f"{name}.yaml").write_text(content)
    link = folder / "..data_tmp"
    link.symlink_to(there.name)
    link.replace(folder / "..data")
    for name in files:
        if not (folder / f"{name}.yaml").is_symlink():
            (folder / f"{name}.yaml").symlink_to(f"..data/{name}.yaml")


def test_the_link_of_a_config_map_is_swapped(tmp_path: Path) -> None:
    config_map(tmp_path, "1", plan=text("a", "more.yaml"), more="processes: {b: {command: [b]}}")

    async def game(it: Watched) -> None:
        config_map(tmp_path, "2", plan=text("a", "more.yaml"), more="processes: {b: {command: [c]}}")
        await it.called()
        (tmp_path / "..1/plan.yaml").write_text("nobody reads this any more")
        config_map(tmp_path, "3", plan=text("d", "more.yaml"), more="processes: {b: {command: [c]}}")
        await it.called()
        assert it.calls == 2

    play(tmp_path / "plan.yaml", game)


def test_a_link_in_the_middle_of_the_path_is_swapped(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "etc").mkdir(parents=True)
        (tmp_path / name / "etc/plan.yaml").write_text(text(name))
    current = tmp_path / "current"
    current.symlink_to("one")

    async def game(it: Watched) -> None:
        fresh = tmp_path / "fresh"
        fresh.symlink_to(tmp_path / "two")
        fresh.replace(current)
        await it.called()
        (tmp_path / "two/etc/plan.yaml").write_text(text("three"))
        await it.called()

    play(current / "etc/plan.yaml", game)


def test_includes_come_change_and_go(tmp_path: Path) -> None:
    plan, parts = tmp_path / "plan.yaml", tmp_path / "parts"
    parts.mkdir()
    plan.write_text(text("a", "'parts/*.yaml'", "later.yaml"))

    async def game(it: Watched) -> None:
        (parts / "b.yaml").write_text("processes: {b: {command: [b]}}")
        await it.called()
        (parts / "b.yaml").write_text("processes: {b: {command: [c]}}")
        await it.called()
        (tmp_path / "later.yaml").write_text("processes: {c: {command: [c]}}")
        await it.called()
        (parts / "b.yaml").unlink()
        await it.called()

    play(plan, game)


def test_the_folders_of_a_path_are_those_where_another_file_could_take_its_place(tmp_path: Path) -> None:
    config_map(tmp_path, "1", plan="x")
    assert folders(tmp_path / "plan.yaml") == {tmp_path, tmp_path / "..1"}
    assert folders(tmp_path / "none.yaml") == {tmp_path}
    (tmp_path / "loop").symlink_to("loop")
    assert folders(tmp_path / "loop/plan.yaml")
