"""What is named as a plan may be anything: nothing waits for ever, and nothing is read without end."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

import pytest
from click.testing import CliRunner

from millrace.cli.supervise import app
from millrace.runtime.clock import SystemClock
from millrace.supervisor.change.watching import watch
from millrace.supervisor.plans.text_file import MAX_CHARS, text_in

PLAN = 'processes: {a: {command: ["true"]}}'


@contextmanager
def piped(text: str) -> Iterator[str]:
    """The name of a pipe in which a text stands, as a shell gives one for `<(...)`."""
    out, into = os.pipe()
    writing = Thread(target=_write, args=(into, text), daemon=True)
    writing.start()
    try:
        yield f"/dev/fd/{out}"
    finally:
        os.close(out)
        writing.join()


def _write(into: int, text: str) -> None:
    with suppress(BrokenPipeError), open(into, "w", encoding="utf-8") as file:
        file.write(text)


def test_a_pipe_is_read_and_one_that_nobody_writes_to_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused = CliRunner().invoke(app, ["check", str(tmp_path / "pipe")])
    assert "it is a pipe that nobody writes to" in str(refused.exception)
    with piped(f"{PLAN}\n{'#' * 500_000}") as name:  # more than a pipe holds at once
        assert CliRunner().invoke(app, ["check", name]).exit_code == 0


def test_what_is_read_again_and_again_is_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(ValueError, match="it is no file"):
            text_in(path)
    with pytest.raises(IsADirectoryError):
        text_in(tmp_path)


def test_a_text_without_an_end_is_read_no_further_than_a_plan_may_be_long(tmp_path: Path) -> None:
    assert len(text_in(Path("/dev/zero"), pipes=True)) == MAX_CHARS + 1
    (tmp_path / "long").write_text("#" * (MAX_CHARS + 1))
    assert "longer than" in CliRunner().invoke(app, ["check", str(tmp_path / "long")]).output


def test_a_watch_goes_on_where_a_pipe_takes_the_place_of_a_plan(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN)

    async def game() -> None:
        ready, changed = asyncio.Event(), asyncio.Event()
        watching = asyncio.create_task(
            watch(_only(plan), changed.set, clock=SystemClock(), debounce_s=0.01, watching=ready.set)
        )
        try:
            async with asyncio.timeout(30):
                await ready.wait()
                os.mkfifo(tmp_path / "pipe")
                (tmp_path / "pipe").replace(plan)
                await changed.wait()
        finally:
            watching.cancel()

    asyncio.run(game())


def _only(path: Path) -> Callable[[], Awaitable[list[Path]]]:
    async def files() -> list[Path]:
        return [path]

    return files
