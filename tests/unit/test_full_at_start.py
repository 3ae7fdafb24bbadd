"""A start on a full disk says that the disk is full, whichever file was the first that found no room."""

import asyncio
import errno
import os
from pathlib import Path

import apsw
import pytest

from millrace.cli.run import code_of
from millrace.config.errors import SettingError
from millrace.programs import data_folder
from millrace.programs.exhausted import ExhaustedError
from millrace.runtime.clock import SystemClock
from millrace.runtime.hold import Hold
from millrace.store.sqlite.connection import meaning_of
from millrace.store.sqlite.driver import SqliteStore
from millrace.store.store import StoreFullError, StoreUnavailableError
from millrace.worker.identity import StateFolder, StateUnusableError

SENTENCE = "cannot use /farm as the data folder: no space is left on its disk; free some and start again, or name another folder"


def an_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_the_data_folder(number: int) -> None:
    found = data_folder.unusable(Path("/farm"), an_error(number))
    assert (type(found), str(found)) == (ExhaustedError, SENTENCE)


def test_a_folder_that_is_of_no_use_is_told_apart() -> None:
    for number, reason in ((errno.EACCES, "Permission denied"), (errno.ENOTDIR, "it is no folder")):
        found = data_folder.unusable(Path("/farm"), an_error(number))
        assert (type(found), str(found)) == (
            SettingError,
            f"cannot use /farm as the data folder: {reason}; name another one",
        )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_the_lock_of_the_database(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> Hold:
        raise an_error(number)

    monkeypatch.setattr(Hold, "take", refuse)
    with pytest.raises(StoreFullError, match=r"farm\.db: no space is left; free some"):
        asyncio.run(SqliteStore(tmp_path / "farm.db", clock=SystemClock()).start())


def test_the_index_of_the_database_log() -> None:
    assert isinstance(meaning_of(apsw.exception_for(apsw.SQLITE_IOERR_SHMSIZE), Path("farm.db")), StoreFullError)
    other = meaning_of(apsw.exception_for(apsw.SQLITE_IOERR_FSYNC), Path("farm.db"))
    assert isinstance(other, StoreUnavailableError)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("first", ["the folder", "the lock", "the fingerprint"])
def test_the_state_folder_of_a_worker(number: int, first: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise an_error(number)

    where = {"the folder": (Path, "mkdir"), "the lock": (Hold, "take"), "the fingerprint": (os, "fsync")}[first]
    monkeypatch.setattr(*where, refuse)
    with pytest.raises(StateUnusableError) as caught:
        StateFolder(tmp_path / "state").open()
    assert str(caught.value) == (
        f"cannot use the state folder {tmp_path / 'state'}: no space is left on its disk; free some and start again, or "
        "name another folder"
    )
    assert code_of(caught.value) == 1
    assert [path.name for path in tmp_path.rglob("fingerprint*")] == []


def test_a_state_folder_that_is_of_no_use_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> Hold:
        raise an_error(errno.EACCES)

    monkeypatch.setattr(Hold, "take", refuse)
    with pytest.raises(StateUnusableError, match=r": Permission denied; name another one$") as caught:
        StateFolder(tmp_path / "state").open()
    assert code_of(caught.value) == 2


def test_a_new_data_folder_lasts_with_all_that_it_lies_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(data_folder, "sync_folder", synced.append)
    data_folder.make(tmp_path / "srv" / "farm")
    assert sorted(synced) == [tmp_path, tmp_path / "srv"]
    data_folder.make(tmp_path / "srv" / "farm")
    assert len(synced) == 2
