"""Sockets that somebody else opened."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from millrace.config.errors import SettingError
from millrace.config.settings import MasterSettings
from millrace.programs.http.listen import ListenError, adopt, host_of, listen
from millrace.programs.master import MasterProgram


@pytest.fixture
def opened() -> Iterator[socket.socket]:
    with listen("127.0.0.1", 0) as opened:
        yield opened


def test_an_open_socket_is_taken_over(opened: socket.socket) -> None:
    with adopt(os.dup(opened.fileno())) as taken:
        assert taken.getsockname() == opened.getsockname()
        assert host_of(taken) == "127.0.0.1"
        assert not taken.getblocking()


def test_what_does_not_listen_is_refused_and_left_open(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, socket.socket() as idle, socket.socketpair()[0] as unix:
        for other in (file.fileno(), idle.fileno(), unix.fileno()):
            with pytest.raises(ListenError, match=f"cannot listen on descriptor {other}"):
                adopt(other)
            os.fstat(other)
    with pytest.raises(ListenError, match="cannot listen on descriptor 9999"):
        adopt(9999)


def test_a_socket_beyond_loopback_needs_tls_as_an_address_does(tmp_path: Path) -> None:
    with listen("0.0.0.0", 0) as opened, pytest.raises(SettingError, match=r"cannot listen on 0\.0\.0\.0"):
        MasterProgram(MasterSettings(data=tmp_path), descriptor=os.dup(opened.fileno()))
