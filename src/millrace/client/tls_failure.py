"""Why TLS failed, and what to do about it. Pure."""

import ssl

_ENDED, _TOO_EARLY = 10, 9
_OTHER_NAME = frozenset({62, 64})  # X509_V_ERR_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH
_STRANGER = frozenset(
    {2, 18, 19, 20, 21}
)  # no issuer, self-signed, self-signed in the chain, no local issuer, not verified
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})
_OURS = ("CERTIFICATE", "UNKNOWN_CA")


def explain(error: ssl.SSLError) -> str:
    """A phrase that goes on after "cannot reach the master at ...:"."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _of_theirs(error)
    reason = str(error.reason or "")
    if reason in _NOT_TLS:
        return "it does not speak TLS there; does its address begin with http://?"
    if "ALERT" in reason and any(word in reason for word in _OURS):
        return (
            "it does not accept the certificate of this machine; let the machine join again, with a token of "
            "`millrace nodes invite`"
        )
    return f"TLS failed: {reason.replace('_', ' ').lower() or error}"


def _of_theirs(error: ssl.SSLCertVerificationError) -> str:
    code = getattr(error, "verify_code", 0)  # which only a real handshake sets
    if code == _ENDED:
        return (
            "its certificate has ended; renew it there (a master does so by itself with one of its own), or set this "
            "machine's clock, where that is wrong"
        )
    if code == _TOO_EARLY:
        return "its certificate is not good yet; set the clock of this machine, or of that"
    if code in _OTHER_NAME:
        return "its certificate is for other names; call it by one of those, or start the master with this one in --tls-names"
    if code in _STRANGER:
        return (
            "its certificate comes from an authority that is not trusted here; name that with --ca FILE (of a master that made "
            "its own it is DATA/tls/ca.pem there)"
        )
    return f"its certificate cannot be trusted: {getattr(error, 'verify_message', error)}"
