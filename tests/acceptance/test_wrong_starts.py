"""What cannot start says so in one sentence, with 2 where something else must be named and 1 where it may pass."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from outside import FFMPEG, Shell

NOBODY = "http://127.0.0.1:9"
WORKER = ("worker", "--state", "state", "--master", NOBODY)
STORE = "is not a postgresql:// URL; leave it empty for SQLite in the data folder"


def a_file(home: Path) -> None:
    (home / "file").write_text("of no use")


def no_database(home: Path) -> None:
    (home / "data").mkdir()
    (home / "data" / "millrace.db").write_bytes(b"this is no database" * 500)


def nothing(_: Path) -> None: ...


CASES: list[tuple[str, Callable[[Path], None], tuple[str, ...], dict[str, str], int, str]] = [
    ("data that is a file", a_file, ("up", "--data", "file"), {}, 2, "cannot use file as the data folder"),
    ("data below a file", a_file, ("up", "--data", "file/data"), {}, 2, "cannot use file/data as the data folder"),
    ("data of the environment", a_file, ("up",), {"MILLRACE_DATA": "file"}, 2, "cannot use file as the data folder"),
    ("no database", no_database, ("up", "--data", "data"), {}, 2, "cannot use the database data/millrace.db"),
    ("a foreign store", nothing, ("master", "--store", "mysql://u:secret@h/x"), {}, 2, f"--store: its value {STORE}"),
    ("a foreign scheme", nothing, ("master", "--store", "mysql:x"), {}, 2, f"--store: its value {STORE}"),
    ("no port", nothing, ("master", "--store", "postgresql://u:secret@h:x/y"), {}, 2, f"--store: its value {STORE}"),
    ("as a variable", nothing, ("master",), {"MILLRACE_STORE": "mysql://u:secret@h/x"}, 2, f"_STORE: its value {STORE}"),
    ("a store that is away", nothing, ("master", "--store", "postgresql://u:secret@127.0.0.1:9/x"), {}, 1, "PostgreSQL"),
    ("foreign blobs", nothing, ("master", "--blobs", "mongo://h/x"), {}, 2, "cannot open mongo://h/x"),
    ("a foreign host", nothing, ("master", "--host", "192.0.2.1", "--plain-http"), {}, 2, "cannot listen on 192.0.2.1"),
    ("no certificate", a_file, ("master", "--tls-cert", "file", "--tls-key", "file"), {}, 2, "cannot serve TLS"),
    ("a lost certificate", nothing, ("master", "--tls-cert", "none", "--tls-key", "none"), {}, 2, "cannot serve TLS"),
    ("a state that is a file", a_file, ("worker", "--state", "file", "--master", NOBODY), {}, 2, "it is no folder"),
    ("true is no FFmpeg", nothing, (*WORKER, "--ffmpeg", "/bin/true"), {}, 2, "cannot use /bin/true as FFmpeg"),
    ("yes is no FFmpeg", nothing, (*WORKER, "--ffmpeg", "/usr/bin/yes"), {}, 2, "cannot use /usr/bin/yes as FFmpeg"),
    ("not in up", nothing, ("up", "--data", "d"), {"MILLRACE_FFMPEG": "/bin/true"}, 2, "cannot use /bin/true as FFmpeg"),
    ("nor here", nothing, ("transcode",), {"MILLRACE_FFMPEG": "/bin/true"}, 2, "cannot use /bin/true as FFmpeg"),
    ("no such FFmpeg", nothing, ("transcode", "--ffmpeg", "none"), {}, 2, "cannot run none: there is no such program"),
]  # fmt: skip


@pytest.mark.parametrize(("prepare", "arguments", "environ", "code", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])  # fmt: skip
def test_what_cannot_start_says_so_in_one_sentence(
    shell: Shell,
    prepare: Callable[[Path], None],
    arguments: tuple[str, ...],
    environ: dict[str, str],
    code: int,
    words: str,
) -> None:
    prepare(shell.home)
    port = ("--port", 0) if arguments[0] in {"up", "master"} else ()
    done = shell.having(MILLRACE_LOG_LEVEL="error", **environ).run(*arguments, *port)
    assert (done.code, done.out) == (code, ""), done
    assert words in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert "secret" not in done.err
    assert not (shell.home / "d").exists()


@pytest.mark.parametrize("command", ["up", "master"])
def test_a_start_on_a_taken_port_leaves_nothing_behind(shell: Shell, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = shell.run(command, "--data", "d", "--port", taken.getsockname()[1])
    assert done.code == 2, done
    assert "another program listens there" in done.err
    assert not (shell.home / "d").exists()


def test_an_ffmpeg_that_is_named_from_here_is_found_from_everywhere(shell: Shell) -> None:
    (shell.home / "bin").mkdir()
    (shell.home / "bin" / "own").symlink_to(FFMPEG)
    done = shell.run("transcode", "--ffmpeg", "bin/own", "-p", "144p10-h264", "--duration", 1)
    assert done.code == 0, done.err
