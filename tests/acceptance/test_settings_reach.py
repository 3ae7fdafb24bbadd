"""Settings reach what they are about: from the command line or the environment to the process that heeds them."""

import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from outside import PATIENCE_S, Shell, running

FORBIDDEN = "leads to an address that may not be reached (not public)"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def film(clips: Path) -> Iterator[str]:
    """The URL of a film on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(clips))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/small.mp4"
        server.shutdown()
        thread.join()


def test_transcode_takes_a_film_of_this_machine(shell: Shell, film: str) -> None:
    done = shell.run("transcode", film, "-p", "audio")
    assert done.code == 0, done.err


def test_a_farm_refuses_films_of_its_own_machine_unless_it_is_told_otherwise(shell: Shell, film: str) -> None:
    order = {"input": film, "profile": "audio", "max_retries": 0}
    shell = shell.having(MILLRACE_HEARTBEAT="0.3")
    with running(shell, "up", "--data", "farm", "--port", 0) as farm:
        failure = farm.ends(farm.submit(**order)["id"], "failed")["failure"]
        assert (failure["class"], FORBIDDEN in failure["message"]) == ("request", True)
        assert "--input-allow-network" in failure["message"]
    with running(shell, "up", "--data", "farm", "--port", 0, "--input-allow-network", "127.0.0.0/8") as farm:
        farm.ends(farm.submit(**order)["id"])


def test_systemd_hears_that_a_program_is_ready_alive_and_stopping(shell: Shell, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(PATIENCE_S)
        listener.bind(str(tmp_path / "notify"))

        def hear(word: bytes) -> None:
            while listener.recv(100) != word:
                pass

        told = shell.having(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000")
        with running(told, "master", "--data", "farm", "--port", 0):
            hear(b"READY=1")
            for _ in range(3):
                hear(b"WATCHDOG=1")
        hear(b"STOPPING=1")
