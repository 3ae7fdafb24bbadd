"""The key of a first start: whole or not there, private, and the same for everybody who starts at that moment."""

import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from millrace.config.errors import SettingError
from millrace.programs import api_key


def test_a_made_key_is_private_and_found_again(tmp_path):
    umask = os.umask(0)
    try:
        key, path, made = api_key.find_or_make("", tmp_path)
    finally:
        os.umask(umask)
    api_key.check(key, path)
    assert (made, path) == (True, tmp_path / api_key.FILE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [*tmp_path.iterdir()] == [path]
    assert api_key.find_or_make("", tmp_path) == (key, path, False)
    assert api_key.find_or_make("given-key", tmp_path) == ("given-key", None, False)


def test_the_file_has_its_name_only_once_it_is_on_the_disk(tmp_path, monkeypatch):
    kept = []

    def crash(descriptor):
        kept.append(os.pread(descriptor, 100, 0))
        assert not (tmp_path / api_key.FILE).exists()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="No space left"):
        api_key.find_or_make("", tmp_path)
    assert kept[0].startswith(b"mr_")
    assert [*tmp_path.iterdir()] == []
    monkeypatch.undo()
    assert api_key.find_or_make("", tmp_path)[2]


@pytest.mark.parametrize("links", [True, False])
def test_of_two_first_starts_one_makes_the_key_and_the_other_takes_it(tmp_path, monkeypatch, links):
    path = tmp_path / api_key.FILE
    really_link = os.link

    def link(source, target):
        path.write_text("the-key-of-the-quicker\n")
        if not links:
            raise OSError(errno.EPERM, "Operation not permitted")
        really_link(source, target)

    monkeypatch.setattr(os, "link", link)
    assert api_key.find_or_make("", tmp_path) == ("the-key-of-the-quicker", path, False)
    assert [*tmp_path.iterdir()] == [path]


def test_where_there_are_no_links_the_key_is_made_all_the_same(tmp_path, monkeypatch):
    def link(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    key, path, made = api_key.find_or_make("", tmp_path)
    assert made
    assert path.read_text() == key + "\n"
    assert [*tmp_path.iterdir()] == [path]


def test_many_that_start_at_once_have_one_key(tmp_path):
    together = Barrier(8)

    def start(_):
        together.wait()
        return api_key.find_or_make("", tmp_path)

    with ThreadPoolExecutor(8) as pool:
        found = [*pool.map(start, range(8))]
    assert len({key for key, _, _ in found}) == 1
    assert sum(made for _, _, made in found) == 1


@pytest.mark.parametrize("content", ["", "\n", "short\n", "bad\x00but-long-enough"])
def test_a_key_file_that_holds_no_key_is_named(tmp_path, content):
    (tmp_path / api_key.FILE).write_text(content)
    key, file, made = api_key.find_or_make("", tmp_path)
    assert not made
    with pytest.raises(SettingError, match="remove the file"):
        api_key.check(key, file)


def test_a_given_key_that_is_too_short_is_refused_without_being_shown():
    with pytest.raises(SettingError) as caught:
        api_key.check("hunter2", None)
    assert "hunter2" not in str(caught.value)
