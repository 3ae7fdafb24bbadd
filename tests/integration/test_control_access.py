"""Who may come in at the control API of a supervisor, how often, and what is written down of it."""

import asyncio
import json
import os
import ssl
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import httpx2
import pytest
from control_rig import KEY, Rig, play

from millrace.config.errors import SettingError
from millrace.domain.roles import Role
from millrace.edge.access import PeerRule, Rate, Rates, Rules, SubjectRule
from millrace.edge.keys import Key, Keys
from millrace.programs import access_file
from millrace.programs.access_file import AccessFile, rules_from
from millrace.programs.control_doors import ControlDoors
from millrace.programs.control_server import remote
from millrace.programs.control_settings import ControlSettings
from millrace.programs.http.listen import listen, url_of
from millrace.runtime.clock import SystemClock
from millrace.supervisor.audit_trail import Trail
from millrace.supervisor.control.supervisor import Supervisor

PLAN = """
processes:
  web: {command: [sleep, "1000"]}
  job: {command: ["true"], schedule: "0 0 1 1 *"}
"""


@asynccontextmanager
async def door(rig: Rig, rules: list[Rules]) -> AsyncIterator[httpx2.AsyncClient]:
    opened = listen("127.0.0.1", 0)
    async with (
        remote(rig.supervisor, opened, lambda: rules[0]),
        httpx2.AsyncClient(base_url=url_of(opened, tls=False), headers={"x-api-key": KEY}) as asking,
    ):
        yield asking


def keys(role: Role) -> Keys:
    from millrace.edge.access import GRANTS

    return Keys([Key(secret=KEY, name="it", role=role.value, grants=GRANTS[role])], now_s=time.time)


def test_who_asks_too_often_is_told_when_to_come_again(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        rules = [Rules(keys=keys(Role.ADMIN), rates=Rates(all=Rate(per_s=0.01, burst=5)))]
        async with door(rig, rules) as asking:
            answers = [await asking.get("/v1/processes") for _ in range(7)]
            assert [one.status_code for one in answers] == [200] * 5 + [429] * 2
            assert [one.headers["ratelimit"].split(";")[1] for one in answers] == [
                "r=4",
                "r=3",
                "r=2",
                "r=1",
                "r=0",
                "r=0",
                "r=0",
            ]
            assert answers[0].headers["ratelimit-policy"] == '"default";q=5;w=500'
            assert 95 <= int(answers[-1].headers["retry-after"]) <= 100
            # Who guesses keys spends the share of the address, and the right key is not locked out by it.
            guesses = [
                (await asking.get("/v1/processes", headers={"x-api-key": f"guess-{n}"})).status_code for n in range(7)
            ]
            assert guesses == [401] * 5 + [429] * 2
            # A flood does not wash the audit trail away.
            assert (await asking.post("/v1/shutdown")).status_code == 429
            assert {one["status"] for one in (await rig.get("/v1/audit"))["entries"]} == {401}
            rules[0] = Rules(keys=keys(Role.ADMIN))
            assert (await asking.get("/v1/processes")).status_code == 200
        metrics = (await rig.client.get("/metrics")).text
        assert 'millrace_supervisor_http_requests_total{route="/v1/processes",method="GET",status="200"} 6' in metrics

    play(tmp_path, body, PLAN)


def test_an_address_that_is_not_named_gets_nothing(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        rules = [rules_from("networks: [192.0.2.0/24]", now_s=time.time)]
        async with door(rig, rules) as asking:
            for path in ("/v1/health", "/v1/processes", "/nowhere"):
                answer = await asking.get(path, headers={"x-forwarded-for": "192.0.2.1", "x-real-ip": "192.0.2.1"})
                assert answer.status_code == 403
            rules[0] = rules_from("networks: [127.0.0.0/8]", now_s=time.time)
            assert (await asking.get("/v1/health")).status_code == 200

    play(tmp_path, body, PLAN)


def test_every_change_is_written_down_with_who_and_what(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await rig.until("/v1/processes/web", lambda one: one["ready"] == 1)
        async with door(rig, [Rules(keys=keys(Role.OPERATOR))]) as asking:
            await asking.post("/v1/processes/web/scale?wait=30", json={"desired": 2})
            await asking.post("/v1/processes/job/schedule/pause")
            await asking.post("/v1/processes/web/start?token=tell-nobody")
            await asking.post("/v1/shutdown")
            await asking.get("/v1/audit")
            await asking.post("/v1/shutdown", headers={"x-api-key": "not-the-key"})
            await asking.post("/token=hunter22/x")
        await rig.post("/v1/processes/web/signal", {"signal": "CONT"})
        entries = (await rig.get("/v1/audit"))["entries"]
        assert [(one["caller"], one["role"], one["method"], one["path"], one["status"]) for one in entries] == [
            ("it", "operator", "POST", "/v1/processes/web/scale", 200),
            ("it", "operator", "POST", "/v1/processes/job/schedule/pause", 200),
            ("it", "operator", "POST", "/v1/processes/web/start", 400),
            ("it", "operator", "POST", "/v1/shutdown", 403),
            ("it", "operator", "GET", "/v1/audit", 403),
            ("", "", "POST", "/v1/shutdown", 401),
            ("it", "operator", "POST", "/token=***", 404),
            (f"uid:{os.geteuid()}", "admin", "POST", "/v1/processes/web/signal", 200),
        ]  # fmt: skip
        scaled = entries[0]
        assert (scaled["client"], scaled["request"]) == ("127.0.0.1", {"desired": 2, "delta": None, "auto": False})
        assert (scaled["before"]["desired"], scaled["after"]["desired"]) == (1, 2)
        assert scaled["after"]["instances"]["web-1"] == {"state": "running", "run": 1}
        assert (entries[1]["before"]["paused"], entries[1]["after"]["paused"]) == (False, True)
        assert "no parameter of this request" in entries[2]["detail"]
        assert entries[-1]["client"] == f"uid:{os.geteuid()}"
        assert [one["path"] for one in (await rig.get("/v1/audit?process=web&caller=it&limit=1"))["entries"]] == [
            "/v1/processes/web/start"
        ]
        assert (await rig.get(f"/v1/audit?since={entries[-2]['at']}"))["entries"] == entries[-1:]
        text = json.dumps(entries)
        assert not [word for word in ("tell-nobody", "hunter22", KEY, "not-the-key") if word in text]

    play(tmp_path, body, PLAN)


def test_the_trail_is_a_private_file_and_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"

    async def body(rig: Rig) -> None:
        rig.supervisor.trail = Trail(path)  # the door is made after it
        async with door(rig, [Rules(keys=keys(Role.ADMIN))]) as asking:
            await asking.post("/v1/processes/job/schedule/pause")
            await asking.post("/v1/processes/job/schedule/resume")
        rig.supervisor.trail.close()

    play(tmp_path, body, PLAN)
    assert path.stat().st_mode & 0o777 == 0o600
    lines = path.read_text().splitlines()
    assert [json.loads(line)["path"].rpartition("/")[2] for line in lines] == ["pause", "resume"]
    with path.open("a") as file:
        file.write('{"at": "2026-01-')  # a crash cut it off
    again = Trail(path)
    assert [one.path.rpartition("/")[2] for one in again.last(lambda _: True, limit=10)] == ["pause", "resume"]
    again.close()


def certificates(folder: Path) -> None:
    """An authority, a server's certificate, and those of two clients; one more of another authority."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1")
    for authority, names in (
        ("ca", {"srv": "/CN=srv", "ci": "/O=Ex/CN=ci", "odd": "/CN=odd"}),
        ("other", {"liar": "/O=Ex/CN=ci"}),
    ):
        openssl(
            "req",
            "-x509",
            *new,
            "-keyout",
            f"{authority}.key",
            "-out",
            f"{authority}.pem",
            "-subj",
            f"/CN={authority}",
            "-days",
            "2",
        )
        for name, subject in names.items():
            openssl("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
            openssl(
                "x509",
                "-req",
                "-in",
                f"{name}.csr",
                "-CA",
                f"{authority}.pem",
                "-CAkey",
                f"{authority}.key",
                "-CAcreateserial",
                "-out",
                f"{name}.pem",
                "-days",
                "2",
                "-extfile",
                "ext",
            )


def test_a_client_certificate_is_asked_for_and_stands_for_a_role(tmp_path: Path) -> None:
    certificates(tmp_path)
    rules = Rules(keys=keys(Role.VIEWER), subjects=(SubjectRule(role=Role.ADMIN, attributes=frozenset({"CN=ci"})),))

    async def body(rig: Rig) -> None:
        opened = listen("127.0.0.1", 0)
        url = url_of(opened, tls=True)
        async with remote(
            rig.supervisor, opened, lambda: rules, certificate=tmp_path / "srv.pem", key=tmp_path / "srv.key", client_ca=tmp_path / "ca.pem",
        ):  # fmt: skip

            async def ask(name: str | None, **headers: str) -> int:
                trusting = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
                if name:
                    trusting.load_cert_chain(tmp_path / f"{name}.pem", tmp_path / f"{name}.key")
                async with httpx2.AsyncClient(verify=trusting) as asking:
                    return (await asking.post(f"{url}/v1/processes/job/schedule/trigger", headers=headers)).status_code

            assert await ask("ci") == 202
            assert await ask("odd") == 401
            assert await ask("odd", **{"x-api-key": KEY}) == 403  # a viewer
            for name in (None, "liar"):
                with pytest.raises((httpx2.TransportError, ssl.SSLError)):
                    await ask(name, **{"x-api-key": KEY})

    play(tmp_path, body, PLAN)


def test_what_is_wrong_in_an_access_file_is_a_sentence() -> None:
    for text, said in (
        ("kyes: []", "kyes: there is no such field; allowed: keys, peers, certificates, networks, hosts, rate"),
        ("keys: [{name: a, role: boss, sha256: x}]", "keys[0].role: 'boss' is none of the allowed values; allowed: admin, operator, viewer, worker"),
        ("keys: [{name: a, role: admin, sha256: abc}]", "keys[0].sha256"),
        ("keys: [{name: a, role: admin}]", "keys[0].sha256: is missing"),
        (f"keys: [{{name: a, role: admin, sha256: {'a' * 64}}}, {{name: a, role: viewer, sha256: {'b' * 64}}}]", "a is the name of two"),
        ("peers: [{role: viewer}]", "peers[0]: give either user or group"),
        ("peers: [{role: viewer, user: nobody-is-called-that}]", "peers[0].user: nobody here is called nobody-is-called-that"),
        ("certificates: [{subject: ci, role: viewer}]", "certificates[0].subject: is no subject such as CN=ci"),
        ("networks: [10.0.0.1/8]", "networks: 10.0.0.1/8 has host bits set; write one such as 10.0.0.0/8"),
        ("rate: {per_second: 0}", "rate.per_second"),
        ("[", ""),
    ):  # fmt: skip
        with pytest.raises(ValueError) as error:
            rules_from(text, now_s=time.time)
        assert str(error.value).startswith(said) or said in str(error.value), (text, str(error.value))


def test_an_access_file_is_read_anew_and_a_broken_one_shuts_the_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access_file, "_LOOK_S", 0.0)
    path = tmp_path / "access.yaml"
    entry = f"{{name: ci, role: operator, sha256: {sha256(b'the-key').hexdigest()}}}"
    path.write_text(f"keys: [{entry}]\nrate: {{per_second: 3, burst: 7}}")
    own = PeerRule(role=Role.ADMIN, uid=7)
    access = AccessFile(path, usual=[own], usual_keys=[Key(secret=KEY)])

    def known(secret: str) -> bool:
        found = access.rules.keys
        return found is not None and found.named(secret) is not None

    assert known("the-key")
    assert known(KEY)
    assert access.rules.rates == Rates(all=Rate(per_s=3.0, burst=7))
    path.write_text("peers: [{group: 0, role: viewer}]")
    assert not known("the-key")
    assert access.rules.peers == (own, PeerRule(role=Role.VIEWER, gid=0))
    path.write_text("peers: [")
    assert not known(KEY)
    assert (access.rules.peers, access.rules.networks) == ((own,), ())
    path.write_text(f"keys: [{entry}]")
    assert known("the-key")
    path.chmod(0o666)
    assert not known("the-key")
    path.chmod(0o600)
    assert known("the-key")
    path.unlink()
    assert not known("the-key")
    with pytest.raises(SettingError, match=r"cannot use the access file .*: No such file"):
        AccessFile(path, usual=[], usual_keys=[])


@pytest.mark.parametrize(
    ("access", "settings", "said"),
    [
        (
            "certificates: [{subject: CN=ci, role: admin}]",
            {"host": "127.0.0.1"},
            "name their authority with --tls-client-ca",
        ),
        ("peers: [{user: 0, role: admin}]", {"host": "127.0.0.1"}, "or name keys or certificates in an access file"),
        ("{}", {"host": "127.0.0.1", "key": KEY, "client_ca": Path("ca.pem")}, "needs --listen with --tls-cert"),
        ("nonsense", {}, "cannot use the access file"),
    ],
)
def test_what_would_let_nobody_or_anybody_in_is_refused(
    tmp_path: Path, access: str, settings: dict[str, object], said: str
) -> None:
    path = tmp_path / "access.yaml"
    path.write_text(access)
    with pytest.raises(SettingError, match=said):
        ControlDoors(
            Supervisor(SystemClock()), ControlSettings(access=path, **settings), {"XDG_RUNTIME_DIR": str(tmp_path)}
        )  # type: ignore[arg-type]
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask as somebody else")
def test_a_user_whom_the_access_file_names_comes_in_by_the_socket(tmp_path: Path) -> None:
    path = tmp_path / "access.yaml"
    path.write_text("peers: [{user: 65534, role: viewer}]")

    async def body(rig: Rig) -> None:
        import socket
        import tempfile

        with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to others
            os.chmod(folder, 0o755)  # noqa: PTH101  one call
            place = Path(folder, "s.sock")
            doors = ControlDoors(rig.supervisor, ControlSettings(socket=place, access=path), {})
            async with doors:
                for method, target, status in (
                    ("GET", "/v1/processes", b"200"),
                    ("POST", "/v1/processes/web/stop", b"403"),
                ):
                    with socket.socket(socket.AF_UNIX) as guest:
                        os.seteuid(65534)
                        try:
                            guest.connect(str(place))
                        finally:
                            os.seteuid(0)
                        reader, writer = await asyncio.open_unix_connection(sock=guest)
                        writer.write(f"{method} {target} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".encode())
                        assert (await reader.readline()).split()[1] == status
                        writer.close()
            doors.close()

    play(tmp_path, body, PLAN)
