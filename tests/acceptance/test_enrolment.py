"""Machines that join over the network: the commands as people type them, with real certificates and two programs."""

import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from outside import SHORT, Done, Farm, Running, Shell, program, running

TERMS = {"MILLRACE_HEARTBEAT": "0.4", "MILLRACE_LEASE_TTL": "3"}
CERTIFICATES = Path(__file__).parent.parent / "integration" / "certificates"


@contextmanager
def public(shell: Shell, *options: object) -> Iterator[Running]:
    """A master that listens for other machines, spoken to by who trusts its authority."""
    with running(shell.having(**TERMS), "master", "--data", "farm", "--host", "0.0.0.0", "--port", 0, *options) as farm:
        ca = farm.program.ready.get("ca", "")
        farm.shell = farm.shell.having(MILLRACE_CA=str(shell.home / ca)) if ca else farm.shell
        yield farm


def token(farm: Farm) -> str:
    made = farm.cli("nodes", "invite", "-o", "json")
    assert made.code == 0, made.err
    return str(made.json()["token"])


def join(farm: Farm, shell: Shell, joining: str, state: str) -> Done:
    return shell.run("worker", "--master", farm.url, "--join", joining, "--state", state, "--name", state)


def as_machine(farm: Farm, state: Path, *, certificate: bool) -> httpx2.Client:
    context = ssl.create_default_context(cafile=str(state / "ca.pem"))
    if certificate:
        context.load_cert_chain(state / "machine.pem", state / "machine.key")
    return httpx2.Client(base_url=farm.url, verify=context, timeout=60)


def test_a_machine_joins_by_one_command_and_works_over_mutual_tls(shell: Shell) -> None:
    with public(shell, "--worker-auth", "mtls") as farm:
        assert farm.url.startswith("https://")
        said = farm.cli("nodes", "invite", "--url", farm.url)
        command, joining = said.out.split()[:4], said.out.split()[-1]
        assert command == ["millrace", "worker", "--master", farm.url]
        assert "good once" in said.err
        worker = ("worker", "--master", farm.url, "--join", joining, "--state", "one", "--name", "one")
        with program(shell, *worker) as one:
            (record,) = one.says("worker.joined")
            node = record["node"]
            assert one.ready == {"node": node}
            job = farm.submit(**SHORT)
            assert farm.ends(job["id"])["attempts"][0]["node"] in (node, "one")
            assert joining not in one.err
        state = shell.home / "one"
        kept = {path.name: oct(path.stat().st_mode & 0o777) for path in state.glob("*machine*")}
        assert kept == {"machine.json": "0o600", "machine.key": "0o600", "machine.pem": "0o600"}
        # The same command again, as an init system gives it: it goes on with what it got.
        with program(shell, *worker) as one:
            assert one.ready == {"node": node}
            assert "worker.joined" not in one.err
        # Browsers are asked for a certificate, too, and do as well without.
        with as_machine(farm, state, certificate=False) as browser:
            entered = browser.post("/login", data={"key": farm.key, "next": "/"})
            assert (entered.status_code, browser.get("/").status_code) == (303, 200), entered.text
        # The token is good for nobody else, and nothing of it is kept.
        again = join(farm, shell, joining, "two")
        assert (again.code, again.out) == (1, "")
        assert "cannot let this machine join: the token was used" in again.err
        assert joining not in farm.program.err
        _check_identity(farm, shell, state, node)
        # Its end: the work of a machine whose key is revoked goes back, and it cannot come again.
        revoked = farm.cli("nodes", "revoke", "one")
        assert (revoked.code, revoked.out) == (0, "node one is lost and holds 0 tasks\n"), revoked.err
        done = shell.run(*worker)
        assert done.code == 2
        assert "cannot work with the key of this machine" in done.err
        assert "`millrace nodes invite`" in done.err
        # With another token it is the same node.
        with program(shell, *worker[:4], token(farm), *worker[5:]) as one:
            assert one.ready == {"node": node}


def _check_identity(farm: Running, shell: Shell, state: Path, node: str) -> None:
    """Its key opens nothing without its certificate, nor for another node; its certificate alone is enough."""
    record = json.loads((state / "machine.json").read_text())
    headers = {"x-api-key": record["key"]}
    body = {"epoch": 1, "tasks": []}
    with as_machine(farm, state, certificate=False) as stolen:
        bare = stolen.post(f"/v1/nodes/{node}/heartbeat", json=body, headers=headers)
        assert (bare.status_code, bare.json()["type"].rpartition(":")[2]) == (403, "certificate-required")
        assert stolen.post(f"/v1/nodes/{node}/heartbeat", json=body).status_code == 401
        admin = stolen.post(f"/v1/nodes/{node}/heartbeat", json=body, headers={"x-api-key": farm.key})
        assert admin.status_code == 403
    with as_machine(farm, state, certificate=True) as itself:
        for shown in ({}, headers):
            assert itself.post(f"/v1/nodes/{node}/heartbeat", json=body, headers=shown).status_code in (200, 409)
            other = itself.post(f"/v1/nodes/{'n' + '0' * 32}/heartbeat", json=body, headers=shown)
            assert (other.status_code, "good for node" in other.json()["detail"]) == (403, True)
        assert itself.get("/v1/jobs").status_code == 403
        # A certificate beside the key of somebody else proves nothing about that one.
        unbound = farm.cli("keys", "create", "shared", "--role", "worker").out.strip()
        both = itself.post(f"/v1/nodes/{node}/heartbeat", json=body, headers={"x-api-key": unbound})
        assert both.status_code == 403
    farm.cli("keys", "revoke", "shared")


def test_who_cannot_be_trusted_is_told_apart(shell: Shell) -> None:
    with public(shell) as farm:
        stranger = Farm(shell, farm.url, farm.key)
        joining = token(farm)
    with public(shell, "--new-ca") as other:  # another authority behind the same address
        done = shell.run("worker", "--master", other.url, "--join", joining, "--state", "w")
        assert (done.code, "its authority is not the one that the token names" in done.err) == (2, True), done.err
        plain = other.url.replace("https:", "http:")
        done = shell.run("worker", "--master", plain, "--join", joining, "--state", "w")
        assert (done.code, "begins with https://" in done.err) == (2, True)
        done = shell.run("worker", "--master", other.url, "--join", joining[:-2], "--state", "w")
        assert (done.code, "has a typo" in done.err) == (2, True)
        stranger.url = other.url
        unknown = stranger.cli("jobs", "list")
        assert (unknown.code, "name that with --ca FILE" in unknown.err) == (1, True), unknown.err
        assert "millrace up" not in unknown.err
        other.url = other.url.replace("127.0.0.1", "127.0.0.3")
        named = other.cli("jobs", "list")
        assert (named.code, "its certificate is for other names" in named.err) == (1, True), named.err


def test_a_certificate_that_has_ended_says_so(shell: Shell) -> None:
    ended = CERTIFICATES / "ended.pem"
    with public(shell, "--tls-cert", ended, "--tls-key", ended) as farm:
        assert "ca" not in farm.program.ready
        farm.shell = farm.shell.having(MILLRACE_CA=str(ended))
        farm.url = farm.url.replace("127.0.0.1", "localhost")
        done = farm.cli("jobs", "list")
        assert (done.code, "its certificate has ended; renew it there" in done.err) == (1, True), done.err


def aged(path: Path, authority: Path, ends: timedelta) -> bytes:
    """Make a machine's certificate end so long from now; what then stands in the file."""
    old = x509.load_pem_x509_certificate(path.read_bytes())
    above = x509.load_pem_x509_certificate((authority / "ca.pem").read_bytes())
    key = serialization.load_pem_private_key((authority / "ca.key").read_bytes(), password=None)
    then = datetime.now(UTC) + ends
    built = x509.CertificateBuilder(above.subject, old.subject, old.public_key(), old.serial_number)
    built = built.not_valid_before(then - timedelta(days=90)).not_valid_after(then)
    for extension in old.extensions:
        built = built.add_extension(extension.value, extension.critical)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    path.write_bytes(built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path.read_bytes()


def test_a_machine_renews_its_certificate_before_it_ends_and_does_without_one_that_has(shell: Shell) -> None:
    with public(shell) as farm:
        worker = ("worker", "--master", farm.url, "--join", token(farm), "--state", "one", "--name", "one")
        with program(shell, *worker):
            pass
        state = shell.home / "one"
        key = (state / "machine.key").read_bytes()
        for ends in (timedelta(days=20), timedelta(days=-1)):
            made = aged(state / "machine.pem", shell.home / "farm" / "tls", ends)
            record = json.loads((state / "machine.json").read_text())
            record["ends"] = (datetime.now(UTC) + ends).isoformat()
            (state / "machine.json").write_text(json.dumps(record))
            with program(shell, *worker) as one:
                one.says("worker.certificate_renewed")
            renewed = json.loads((state / "machine.json").read_text())
            assert datetime.fromisoformat(renewed["ends"]) > datetime.now(UTC) + timedelta(days=89)
            assert (state / "machine.pem").read_bytes() != made
            assert (state / "machine.key").read_bytes() == key


@pytest.mark.parametrize("plain", [True, False])
def test_plain_http_for_other_machines_is_asked_for_and_warned_of_once_each_start(shell: Shell, plain: bool) -> None:
    with public(shell, *(["--plain-http"] if plain else [])) as farm:
        assert farm.url.startswith("http:" if plain else "https:")
        assert farm.program.err.count("master.plain_http") == plain
        if plain:
            # A machine joins there, too; its token names no authority, and it gets a key alone.
            with program(shell, "worker", "--master", farm.url, "--join", token(farm), "--state", "w") as one:
                farm.ends(farm.submit(**SHORT)["id"])
                assert one.ready["node"].startswith("n")
            assert not (shell.home / "w" / "machine.pem").exists()


def test_a_farm_of_one_command_is_as_before_and_one_for_the_network_speaks_tls(shell: Shell) -> None:
    with running(shell.having(**TERMS), "up", "--data", "farm", "--port", 0) as farm:
        assert farm.url.startswith("http://127.0.0.1:")
        assert not (shell.home / "farm" / "tls").exists()
    with running(shell.having(**TERMS, MILLRACE_HOST="0.0.0.0"), "up", "--data", "farm", "--port", 0) as farm:
        assert farm.url.startswith("https://127.0.0.1:")
        farm.ends(farm.submit(**SHORT)["id"])
        # Here the authority is found where the farm is.
        local = shell.having(MILLRACE_DATA="farm").run("jobs", "list", "--master", farm.url, "-o", "json")
        assert (local.code, len(local.json()["jobs"])) == (0, 1), local.err
    asked: dict[str, Any] = {"MILLRACE_WORKER_AUTH": "mtls"}
    done = shell.having(**asked).run("up", "--data", "farm", "--port", 0)
    assert (done.code, "MILLRACE_WORKER_AUTH=mtls" in done.err) == (2, True)


def test_a_backup_holds_the_authority_so_that_machines_know_the_farm_again(shell: Shell) -> None:
    with public(shell) as farm:
        worker = ("worker", "--master", farm.url, "--join", token(farm), "--state", "one", "--name", "one")
        with program(shell, *worker) as one:
            node = one.ready["node"]
        assert shell.run("backup", "saved", "--data", "farm").code == 0
        port = farm.url.rpartition(":")[2]
    assert oct((shell.home / "saved" / "ca.key").stat().st_mode & 0o777) == "0o600"
    lost = shell.home / "farm" / "tls" / "ca.key"
    lost.rename(lost.with_suffix(".lost"))
    done = shell.run("master", "--data", "farm", "--host", "0.0.0.0", "--port", 0)
    assert (done.code, "copy ca.pem and ca.key there" in done.err) == (2, True), done.err
    assert shell.run("restore", "saved", "--data", "again").code == 0
    with running(shell.having(**TERMS), "master", "--data", "again", "--host", "0.0.0.0", "--port", port) as farm:
        assert farm.program.ready["ca"] == "again/tls/ca.pem"
        with program(shell, *worker) as one:
            assert one.ready == {"node": node}
