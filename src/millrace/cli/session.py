"""A client for the master that a command was pointed at, with its key found where keys are kept."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from millrace.cli.failure import CommandError
from millrace.cli.options import DEFAULT_DATA, Target
from millrace.client.client import Client
from millrace.client.http import Terms, trust

KEY_VARIABLES = ("MILLRACE_API_KEY", "MASTER_API_KEY", "FFMPEG_RTMP_API_KEY")
KEY_FILE = "api-key"
OWN_CA = Path("tls", "ca.pem")
_HERE = frozenset({"127.0.0.1", "::1", "localhost"})


def connect(target: Target) -> Client:
    """A client; nothing is sent yet. A master that has answered it is waited for, one that is not there is not.

    On a machine where a master made an authority of its own, that one is trusted without saying so.

    Raises:
        CommandError: the address is none, or the key's or the authority's file cannot be read.
    """
    addresses = [address.strip() for address in target.masters.split(",") if address.strip()]
    try:
        return Client(
            addresses, Terms(key=find_key(target.key_file), tls=trust(target.ca or _own_ca(addresses)), eager=True)
        )
    except ValueError as error:
        raise CommandError(str(error), code=2) from error


def _own_ca(addresses: list[str]) -> Path | None:
    """The authority of a master that was started here, for an address on this machine."""
    local = _data() / OWN_CA
    here = all(urlsplit(address).hostname in _HERE for address in addresses)
    return local if here and local.exists() else None


def _data() -> Path:
    return Path(os.environ.get("MILLRACE_DATA", DEFAULT_DATA))


def find_key(key_file: Path | None) -> str | None:
    """The key from the named file, the environment, or the folder of a master that was started here."""
    if key_file is not None:
        try:
            return key_file.read_text().strip()
        except OSError as error:
            raise CommandError(f"cannot read the API key from {key_file}: {error.strerror}", code=2) from error
    for variable in KEY_VARIABLES:
        if os.environ.get(variable):
            return os.environ[variable]
    local = _data() / KEY_FILE
    try:
        return local.read_text().strip()
    except OSError:
        return None
