"""The farm's own certificates, as OpenSSL judges them, and the tokens that name their authority."""

import ssl
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.client.tls_failure import explain
from millrace.domain import invitations
from millrace.domain.invitations import pin_for, pin_of, spell
from millrace.edge import certificates
from millrace.edge.access import SUBJECT, certified
from millrace.edge.certificates import LASTS, Pair
from millrace.programs.http.own_tls import names_for
from millrace.programs.http.subject_protocol import subject_of

NOW = datetime.now(UTC)
FARM = certificates.new_authority(NOW)


def shake(
    folder: Path, *, server: Pair, trusted: Pair = FARM, name: str = "farm.example.org", client: Pair | None = None
) -> Any:
    """A handshake without a network: what the server sees of the client's certificate."""
    paths = {}
    for called, pair in (("server", server), ("client", client)):
        if pair is not None:
            paths[called] = folder / called
            paths[called].write_bytes(pair.key + pair.certificate)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=FARM.certificate.decode())
    serving.verify_mode = ssl.CERT_OPTIONAL
    serving.load_cert_chain(paths["server"])
    asking = ssl.create_default_context(cadata=trusted.certificate.decode())
    if client is not None:
        asking.load_cert_chain(paths["client"])
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = asking.wrap_bio(back, there, server_hostname=name)
    other = serving.wrap_bio(there, back, server_side=True)
    for side in (one, other, one, other):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    return other.getpeercert()


def test_a_master_is_known_by_each_of_its_names(tmp_path: Path) -> None:
    server = certificates.server_pair(FARM, ["farm.example.org", "192.0.2.7", "::1", "*.example.net"], NOW)
    for name in ("farm.example.org", "192.0.2.7", "::1", "a.example.net"):
        shake(tmp_path, server=server, name=name)
    assert certificates.facts_of(server.certificate).names == {"farm.example.org", "192.0.2.7", "::1", "*.example.net"}
    assert abs(certificates.facts_of(server.certificate).ends - (NOW + LASTS)) < timedelta(seconds=2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"name": "elsewhere.example.org"},
            "call it by one of those, or start the master with this one in --tls-names",
        ),
        ({"name": "192.0.2.8"}, "call it by one of those"),
        ({"trusted": certificates.new_authority(NOW)}, "name that with --ca FILE"),
        ({"then": NOW - LASTS - timedelta(days=1)}, "has ended; renew it there"),
        ({"then": NOW + timedelta(days=2)}, "is not good yet; set the clock"),
    ],
)
def test_what_is_wrong_with_a_masters_certificate_says_what_to_do(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    server = certificates.server_pair(FARM, ["farm.example.org"], changes.pop("then", NOW))
    with pytest.raises(ssl.SSLCertVerificationError) as error:
        shake(tmp_path, server=server, **changes)
    assert words in explain(error.value)


def test_a_worker_shows_which_key_its_certificate_stands_for(tmp_path: Path) -> None:
    server, own = certificates.server_pair(FARM, ["farm.example.org"], NOW), certificates.new_request()
    signed = certificates.worker_certificate(FARM, own.certificate, "k" + "1" * 32, NOW)
    seen = shake(tmp_path, server=server, client=Pair(signed.certificate, own.key))
    assert certified({"state": {SUBJECT: subject_of(seen)}}) == "k" + "1" * 32
    assert certified({"state": {SUBJECT: subject_of({})}}) == certified({}) == ""
    assert certified({"state": {SUBJECT: ("CN=k" + "1" * 32,)}}) == ""  # of the authority, but no worker's
    assert shake(tmp_path, server=server) in (None, {})


def test_what_a_worker_shows_is_no_masters_certificate_and_signs_nothing(tmp_path: Path) -> None:
    own = certificates.new_request()
    signed = certificates.worker_certificate(FARM, own.certificate, "farm.example.org", NOW)
    with pytest.raises(ssl.SSLCertVerificationError, match="unsuitable certificate purpose"):
        shake(tmp_path, server=Pair(signed.certificate + FARM.certificate, own.key))
    server = certificates.server_pair(FARM, ["farm.example.org"], NOW)
    with pytest.raises(ssl.SSLError):
        shake(tmp_path, server=server, client=server)  # nor the other way round
    forged = certificates.server_pair(Pair(signed.certificate, own.key), ["farm.example.org"], NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(tmp_path, server=Pair(forged.certificate + FARM.certificate, forged.key))
    assert not certificates.is_pair(Pair(signed.certificate, own.key))
    assert not certificates.is_pair(Pair(FARM.certificate, own.key))
    assert certificates.is_pair(FARM)


def test_a_certificate_outlives_no_authority_and_is_renewed_when_a_third_is_left() -> None:
    late = certificates.facts_of(FARM.certificate).ends - timedelta(days=3)
    server = certificates.server_pair(FARM, ["x"], late)
    assert certificates.facts_of(server.certificate).ends == certificates.facts_of(FARM.certificate).ends
    assert not certificates.due(NOW, NOW + LASTS / 3)
    assert certificates.due(NOW, NOW + LASTS / 3 - timedelta(seconds=1))


def test_requests_to_sign_of_another_kind_or_with_a_wrong_signature_are_refused() -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        with pytest.raises(ValueError, match="P-256"):
            certificates.public_of(request.public_bytes(serialization.Encoding.PEM))
    good = certificates.new_request()
    # Nor one of somebody who does not have the private key: signed by another, or not at all.
    der = bytearray(ssl.PEM_cert_to_DER_cert(good.certificate.decode().replace("CERTIFICATE REQUEST", "CERTIFICATE")))
    der[-1] ^= 1
    tampered = ssl.DER_cert_to_PEM_cert(bytes(der)).replace("CERTIFICATE", "CERTIFICATE REQUEST")
    with pytest.raises(ValueError, match="its signature is wrong"):
        certificates.public_of(tampered.encode())
    assert certificates.public_of(good.certificate) == certificates.public_of(certificates.request_for(good.key))


@given(st.binary(min_size=16, max_size=16), st.sampled_from([b"", b"\0" * 32, b"\xff" * 32, bytes(range(32))]))
def test_a_token_holds_its_pin_and_a_typo_is_told(random: bytes, pin: bytes) -> None:
    token = spell(random, pin)
    assert pin_of(token) == pin
    assert token.isascii()
    assert len(token) in invitations.LENGTHS
    for wrong in (token[:-1], token + "0", token[:9] + ("x" if token[9] != "x" else "y") + token[10:], "", "mrj_"):
        with pytest.raises(ValueError, match="typo"):
            pin_of(wrong)


def test_a_pin_is_the_fingerprint_that_openssl_shows() -> None:
    found = certificates.x509.load_pem_x509_certificate(FARM.certificate)
    expected = found.fingerprint(certificates.hashes.SHA256())
    assert pin_for(FARM.certificate) == pin_for(b"# a comment\n" + FARM.certificate + b"more") == expected
    for nothing in (b"", b"-----BEGIN CERTIFICATE-----", FARM.key):
        with pytest.raises(ValueError, match="no certificate"):
            pin_for(nothing)


def test_a_machine_is_called_by_what_it_was_given_and_what_it_knows_of_itself() -> None:
    found = names_for("0.0.0.0", ["farm.example.org", "192.0.2.7"])
    assert found[:2] == ("farm.example.org", "192.0.2.7")
    assert {"localhost", "127.0.0.1", "::1"} <= {*found}
    assert not {"0.0.0.0", "::"} & {*found}
    assert "cutter" in names_for("cutter", [])
    assert len({*found}) == len(found)


def test_a_farm_on_one_machine_does_not_pay_for_certificates(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from millrace.config.settings import MasterSettings, WorkerSettings\n"
        "from millrace.programs import all_in_one, up, worker\n"
        "from millrace.programs.machine import find_or_join\n"
        "from millrace.programs.master import MasterProgram\n"
        "async def main():\n"
        "    async with MasterProgram(MasterSettings(data=Path('farm'), port=0)):\n"
        "        pass\n"
        "asyncio.run(main())\n"
        "assert find_or_join(WorkerSettings(state=Path('w'))) is None\n"
        "assert 'cryptography' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "farm" / "tls").exists()
