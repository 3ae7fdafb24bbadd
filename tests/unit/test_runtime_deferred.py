"""Modules that are imported when they are first used."""

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from threading import Barrier, Event, Thread
from types import ModuleType

import pytest

from millrace.runtime.deferred import defer

PATIENCE_S = 30.0
READ: list[str] = []
ENTERED, FREE = Event(), Event()


@pytest.fixture
def name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module that is deferred; its text is written by the test."""
    found = f"deferred_{tmp_path.name}"
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    READ.clear()
    ENTERED.clear()
    FREE.clear()
    defer([found])
    yield found
    sys.modules.pop(found, None)


def write(tmp_path: Path, name: str, *lines: str) -> None:
    (tmp_path / f"{name}.py").write_text("\n".join((f"from {__name__} import READ", "READ.append('x')", *lines, "")))


def is_in_load(thread: Thread) -> bool:
    frame = sys._current_frames().get(thread.ident or 0)
    return frame is not None and frame.f_code.co_name == "load"


def test_it_is_read_once_somebody_asks_it_for_something(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, "word = 'there'")
    module = import_module(name)
    assert READ == []
    assert module.__name__ == name
    assert module.__file__ == str(tmp_path / f"{name}.py")
    assert module.word == "there"
    assert import_module(name).word == "there"
    assert READ == ["x"]
    assert type(module) is ModuleType  # no detour from now on
    with pytest.raises(AttributeError, match="nothing"):
        _ = module.nothing


def test_a_name_that_it_does_not_have_is_no_recursion(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, f"import {name} as own", "found = hasattr(own, 'later')", "later = 1")
    assert import_module(name).found is False


def test_one_that_fails_is_tried_again(tmp_path: Path, name: str) -> None:
    write(tmp_path, name, "word = 'there' if len(READ) > 1 else 1 / 0")
    module = import_module(name)
    with pytest.raises(ZeroDivisionError):
        _ = module.word
    assert module.word == "there"


def test_who_asks_while_another_thread_reads_it_gets_all_of_it(tmp_path: Path, name: str) -> None:
    lines = (f"from {__name__} import ENTERED, FREE", "ENTERED.set()", f"FREE.wait({PATIENCE_S})", "word = 'there'")
    write(tmp_path, name, *lines)
    module, found, ready = import_module(name), [], Barrier(2)

    def ask(*, first: bool) -> None:
        if not first:
            assert ENTERED.wait(PATIENCE_S)
            ready.wait(PATIENCE_S)
        try:
            found.append(module.word)
        except AttributeError as error:
            found.append(str(error))

    threads = [Thread(target=ask, kwargs={"first": first}) for first in (True, False)]
    for thread in threads:
        thread.start()
    ready.wait(PATIENCE_S)  # the second asks now
    while threads[1].is_alive() and not is_in_load(threads[1]):
        pass
    FREE.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert found == ["there", "there"]
    assert READ == ["x"]
