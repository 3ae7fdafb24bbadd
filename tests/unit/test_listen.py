"""Sockets that somebody else opened."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from millrace.config.settings import MasterSettings
from millrace.programs.http.listen import ListenError, adopt, host_of, listen
from millrace.programs.master import MasterProgram, own_ca, serves_tls

PEM = Path(__file__).parent.parent / "integration" / "certificates" / "localhost.pem"


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


@pytest.mark.parametrize(
    ("host", "more", "tls"),
    [
        ("127.0.0.1", {}, False),
        ("::1", {}, False),
        ("localhost", {}, False),
        ("127.0.0.1", {"tls_certificate": PEM, "tls_key": PEM}, True),
        ("0.0.0.0", {}, True),
        ("192.0.2.7", {}, True),
        ("farm.example.org", {}, True),
        ("::", {}, True),
        ("0.0.0.0", {"plain_http": True}, False),
        ("0.0.0.0", {"plain_http": True, "tls_certificate": PEM, "tls_key": PEM}, True),
    ],
)
def test_keys_cross_no_network_in_the_clear_unless_somebody_says_so(host: str, more: dict[str, Any], tls: bool) -> None:
    assert serves_tls(MasterSettings(host=host, **more)) is tls
    assert (own_ca(MasterSettings(host=host, **more)) is not None) is (tls and not more)


def test_a_socket_beyond_loopback_is_judged_as_an_address_is(tmp_path: Path) -> None:
    with listen("0.0.0.0", 0) as opened:
        program = MasterProgram(MasterSettings(data=tmp_path), descriptor=os.dup(opened.fileno()))
    assert serves_tls(program._settings)
    assert program._listening is not None
    program._listening.close()
