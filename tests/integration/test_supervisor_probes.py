"""Health with real processes and servers: who is believed, what is read, and that nothing that hangs holds anybody up."""

import asyncio
import os
import shutil
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from keeper_stage import Stage, descriptors, lives, stage

from millrace.process.values import Spec
from millrace.runtime.clock import SystemClock
from millrace.supervisor.health.http_probe import MAX_BODY_BYTES, Answer, fetch, read_answer
from millrace.supervisor.health.probes import ask
from millrace.supervisor.health.values import HealthCheck, HttpCheck, ProbeKind, Tls
from millrace.supervisor.state import Id, Instance, Phase

SAY = """
import os, socket, sys, time
def say(text, *fds):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.connect(os.environ["NOTIFY_SOCKET"])
        socket.send_fds(s, [text.encode()], list(fds))
"""


def speaker(cwd: Path, body: str) -> None:
    (cwd / "speaker.py").write_text(SAY + body)


def instance(it: Stage, name: str) -> Instance:
    return it.keeper.state.instances.get(Id(name, 0), Instance())


NOTIFYING = """
processes:
  db: {command: [python3, speaker.py], health_check: {type: notify, watchdog: %s}}
  web: {command: [sh, -c, "echo up; exec sleep 100"], depends_on: [db]}
"""


def test_a_process_says_that_it_is_ready_and_is_restarted_when_it_falls_silent(tmp_path: Path) -> None:
    speaker(
        tmp_path, 'say("STATUS=password=hunter2 is set"); print(os.environ["WATCHDOG_USEC"], flush=True); say("READY=1"); time.sleep(100)'
    )  # fmt: skip

    async def play(it: Stage) -> None:
        await it.until(lambda: ("web-0", "up") in it.lines)
        assert instance(it, "db").status.startswith("password=***")
        assert it.said("db-0") == ["500000"]
        await it.until(lambda: it.changes.count(("db-0", Phase.RUNNING, True)) == 2)
        assert ("db-0", Phase.STOPPING, False) in it.changes
        it.keeper.end()
        assert await it.ended() == 0

    stage(NOTIFYING % "500ms", tmp_path, play)


def test_nobody_else_is_believed_and_no_descriptor_is_kept(tmp_path: Path) -> None:
    speaker(
        tmp_path,
        """
print(os.environ["NOTIFY_SOCKET"], flush=True)
while not os.path.exists("go"): time.sleep(0.01)
say("FDSTORE=1\\nSTATUS=stored", *[1] * 20)
pid = os.fork()
if not pid:
    os.setsid()
    if not os.fork(): say("READY=1")
    os._exit(0)
os.wait()
time.sleep(100)
""",
    )

    async def play(it: Stage) -> None:
        await it.until(lambda: bool(it.said("db-0")))
        path = it.said("db-0")[0]
        assert os.stat(path).st_mode & 0o777 == 0o600  # noqa: PTH116  no event loop waits for a stat
        before = descriptors()
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"READY=1\nSTATUS=forged", path)
        (tmp_path / "go").touch()
        seen: list[str] = []

        def is_stored() -> bool:
            seen.append(instance(it, "db").status)
            return instance(it, "db").ready

        await it.until(is_stored)
        assert "forged" not in seen
        assert instance(it, "db").status == "stored"
        await it.until(lambda: ("web-0", "up") in it.lines)
        assert descriptors() <= before + 4  # those of web
        it.keeper.end()
        await it.ended()
        assert not Path(path).parent.exists()

    stage(NOTIFYING % 0, tmp_path, play)


@pytest.mark.skipif(shutil.which("systemd-notify") is None, reason="needs systemd-notify")
def test_a_shell_script_may_use_systemd_notify(tmp_path: Path) -> None:
    text = """
processes:
  db: {command: [sh, -c, "systemd-notify --ready --status=up; exec sleep 100"], health_check: {type: notify}}
"""

    async def play(it: Stage) -> None:
        await it.until(lambda: instance(it, "db").ready)
        assert instance(it, "db").status == "up"

    stage(text, tmp_path, play)


def test_a_flood_of_words_holds_nobody_up(tmp_path: Path) -> None:
    speaker(tmp_path, 'say("READY=1")\nwhile True: say("STATUS=" + "x" * 4000)')

    async def play(it: Stage) -> None:
        await it.until(lambda: instance(it, "db").ready)
        await it.until(lambda: ("web-0", "up") in it.lines)
        it.keeper.end()
        assert await it.ended() == 0

    stage(NOTIFYING % 0, tmp_path, play)


def test_a_process_that_is_another_user_reaches_its_socket(tmp_path: Path) -> None:
    python = Path("/usr/bin/python3")
    if os.getuid() != 0 or not python.exists():
        pytest.skip("needs root to change the user, and a Python that others may run")
    text = """
processes:
  db:
    command: [/usr/bin/python3, -c, "%s"]
    user: nobody
    working_dir: /
    health_check: {type: notify}
"""
    body = "import os,socket,time; socket.socket(1,2).sendto(b'READY=1', os.environ['NOTIFY_SOCKET']); time.sleep(100)"

    async def play(it: Stage) -> None:
        await it.until(lambda: instance(it, "db").ready)

    stage(text % body, tmp_path, play)


def test_a_question_that_hangs_is_dropped_with_its_tree_when_the_process_ends(tmp_path: Path) -> None:
    text = """
processes:
  web:
    command: [sleep, "100"]
    health_check: {type: exec, command: [sh, -c, "echo $$$$ > hung; setsid sleep 1000 & sleep 1000"], timeout: 1h}
"""

    async def play(it: Stage) -> None:
        async with asyncio.timeout(30):
            while not (tmp_path / "hung").exists() or not (tmp_path / "hung").read_text().strip():
                await asyncio.sleep(0)
        pid = (tmp_path / "hung").read_text().strip()
        assert lives(pid)
        it.keeper.end()
        assert await it.ended() == 0
        assert not lives(pid)

    stage(text, tmp_path, play)


# Questions -----------------------------------------------------------------------------------------------------------


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def asked(handler: Handler, check: HttpCheck | None = None, *, tls: ssl.SSLContext | None = None, timeout_s: float = 30.0) -> str | None:  # fmt: skip
    """What is said of a server that does this; `check` lacks its URL."""

    async def whole() -> str | None:
        server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        scheme = "https" if tls is not None or (check is not None and check.tls != Tls()) else "http"
        found = check or HttpCheck(url="")
        http = HttpCheck(
            **{
                **{name: getattr(found, name) for name in found.__struct_fields__},
                "url": f"{scheme}://localhost:{port}/x?y",
            }
        )
        it = HealthCheck(kind=ProbeKind.HTTP, target=http.url, http=http, timeout_s=timeout_s)
        try:
            return await ask(it, spec=lambda: Spec(argv=("x",), cwd=Path()), clock=SystemClock())
        finally:
            server.close()

    return asyncio.run(whole())


def answers(*parts: bytes, forever: bytes = b"") -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for part in parts:
                writer.write(part)
                await writer.drain()
            while forever:
                writer.write(forever)
                await writer.drain()
                await asyncio.sleep(0)
            writer.close()
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    return handle


async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-up: 1\r\n\r\nit is"


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (answers(OK), None),
        (answers(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", OK), None),
        (answers(b"HTTP/1.0 200 OK\r\n\r\nit is"), None),
        (answers(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nit\r\n3\r\n is\r\n0\r\n\r\n"), None),
        (answers(b"HTTP/1.1 302 Found\r\nlocation: file:///etc/passwd\r\n\r\n"), "answered 302, not 200"),
        (answers(b"HTTP/1.1 200 OK\r\n\r\n", forever=b"it is" * 1000), None),
        (answers(b"HTTP/1.1 200 OK\r\n\r\n", forever=b"x" * 5000), "answered with a body that does not hold 'it is'"),
        (answers(b"HTTP/1.1 200 OK\r\n", forever=b"a: " + b"b" * 5000 + b"\r\n"), "answered with"),
        (answers(b"HTTP/1.1 200 OK\r\n", forever=b"a"), "answered with"),
        (answers(b"SSH-2.0-OpenSSH\r\n"), "answered with something that is no HTTP"),
        (answers(), "closed the connection without an answer"),
    ],
)  # fmt: skip
def test_what_a_server_may_answer(handler: Handler, said: str | None) -> None:
    found = asked(handler, HttpCheck(url="", contains="it is"))
    assert found == said or (said is not None and found is not None and found.startswith(said))


@pytest.mark.parametrize("apart", [True, False])
def test_early_hints_are_no_answer(apart: bool) -> None:
    async def whole() -> Answer:
        reader = asyncio.StreamReader()
        reading = asyncio.create_task(read_answer(reader, wants_body=True))
        reader.feed_data(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n")
        for _ in range(3 if apart else 0):
            await asyncio.sleep(0)
        reader.feed_data(OK)
        return await reading

    found = asyncio.run(whole())
    assert (found.status, bytes(found.body), [name for name, _ in found.headers]) == (
        200,
        b"it is",
        ["content-length", "x-up"],
    )


def test_no_more_of_a_body_is_kept_than_is_looked_at() -> None:
    async def whole() -> int:
        server = await asyncio.start_server(answers(b"HTTP/1.1 200 OK\r\n\r\n", forever=b"x" * 5000), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        found = await fetch(HttpCheck(url=f"http://127.0.0.1:{port}", contains="y"))
        server.close()
        return len(found.body)

    assert asyncio.run(whole()) == MAX_BODY_BYTES


def test_the_request_holds_what_was_asked_for() -> None:
    heads: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK)
        writer.close()

    assert asked(handler=handle, check=HttpCheck(url="", method="POST", headers={"Host": "shop", "X-Key": "k"})) is None
    lines = heads[0].decode().split("\r\n")
    assert lines[0] == "POST /x?y HTTP/1.1"
    assert {"host: shop", "x-key: k", "content-length: 0", "connection: close"} <= set(lines)


def test_where_nobody_listens_the_reason_has_no_numbers_of_errors() -> None:
    with socket.socket() as bound:  # a port that nobody listens on, and that nobody else can take meanwhile
        bound.bind(("127.0.0.1", 0))
        place = f"127.0.0.1:{bound.getsockname()[1]}"
        check = HealthCheck(kind=ProbeKind.TCP, target=place)
        said = asyncio.run(ask(check, spec=lambda: Spec(argv=("x",), cwd=Path()), clock=SystemClock()))
    assert said == f"{place.replace(':', ' port ')}: Connection refused"


@pytest.mark.parametrize("tls", [Tls(), Tls(verify=False)])
def test_a_server_that_hangs_is_given_up_in_time_and_blocks_no_other(tls: Tls) -> None:
    """Also one whose handshake never ends; twenty at once, more than there are threads."""

    async def whole() -> list[str | None]:
        silent = await asyncio.start_server(says_nothing, "127.0.0.1", 0)
        good = await asyncio.start_server(answers(OK), "127.0.0.1", 0)

        async def one(server: asyncio.Server, scheme: str, tls: Tls, timeout_s: float) -> str | None:
            url = f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}/"
            http = HttpCheck(url=url, tls=tls, headers={"x": "y"})
            check = HealthCheck(kind=ProbeKind.HTTP, target=url, http=http, timeout_s=timeout_s)
            return await ask(check, spec=lambda: Spec(argv=("x",), cwd=Path()), clock=SystemClock())

        scheme = "https" if tls != Tls() else "http"
        hung = [asyncio.create_task(one(silent, scheme, tls, 0.5)) for _ in range(20)]
        found = [await one(good, "http", Tls(), 30.0), *await asyncio.gather(*hung)]
        for each in (silent, good):
            each.close()
        return found

    assert asyncio.run(whole()) == [None, *["no answer within 0.5 s"] * 20]


def test_certificates_are_judged_as_the_plan_says(tmp_path: Path) -> None:
    """Two that signed themselves, with a key that is for nothing else; they end in 2126."""
    certificate, other = (Path(__file__).parent / "certificates" / f"{name}.pem" for name in ("localhost", "elsewhere"))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    refused = asked(answers(OK), tls=server)
    assert refused is not None
    assert "CERTIFICATE_VERIFY_FAILED" in refused
    assert asked(answers(OK), HttpCheck(url="", tls=Tls(verify=False)), tls=server) is None
    assert asked(answers(OK), HttpCheck(url="", tls=Tls(authorities=certificate)), tls=server) is None
    mistaken = asked(
        answers(OK), HttpCheck(url="", tls=Tls(authorities=certificate, server_name="elsewhere")), tls=server
    )
    assert mistaken is not None
    assert "elsewhere" in mistaken
    missing = asked(answers(OK), HttpCheck(url="", tls=Tls(authorities=tmp_path / "none")), tls=server)
    assert missing is not None
    assert asked(answers(OK), HttpCheck(url="", tls=Tls(authorities=other)), tls=server) is not None
