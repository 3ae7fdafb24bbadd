"""Every setting of the programs: its name, its environment variable, its default and what it means.

The dataclasses are the one table: the command line shows the same defaults, and `docs/reference/settings.md` is made
from it. Settings are read once, at the start of a program, and handed down in slices.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from millrace.config.errors import SettingError
from millrace.domain.sessions import FAMILIES


def _text(value: str) -> str:
    return value


MOST_SECONDS = 10**9
MOST_DAYS = 10**5
MOST_LIMIT = 2**53
MOST_SLOTS = 4096
"""As many as a master lets a node have."""
SANDBOX = ("auto", "require", "off")
WORKER_AUTH = ("any", "mtls")


MOST_RATE = 1e6


def _seconds(value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number < MOST_SECONDS:
        raise ValueError(f"a number of seconds above zero and below {MOST_SECONDS}")
    return number


def _rate(value: str) -> tuple[float, int] | None:
    """So many a second in the long run, and so many at once; the latter is four times the former where it is not given."""
    if value in ("", "0"):
        return None
    per_s, slash, burst = value.partition("/")
    try:
        number = float(per_s)
    except ValueError:
        number = 0.0
    at_once = int(burst) if burst.isascii() and burst.isdigit() and len(burst) <= 7 else 0
    if not slash and 0 < number < MOST_RATE:
        at_once = max(1, round(number * 4))
    if not 0 < number < MOST_RATE or not at_once:
        raise ValueError("requests a second and at once, such as 50/200; 0 for no limit")
    return number, at_once


def _patience(value: str) -> float:
    return 0.0 if value == "0" else _seconds(value)


def _whole(most: int, called: str, *, least: int = 0) -> Callable[[str], int]:
    def read_whole(value: str) -> int:
        # int() would take 1_0, and digits of other scripts; and it is slow with thousands of digits.
        number = int(value) if value.isascii() and value.isdigit() and len(value) <= len(str(most)) else -1
        if not least <= number <= most:
            raise ValueError(f"{called} from {least} to {most}")
        return number

    return read_whole


_count = _whole(MOST_SECONDS, "a whole number")
_limit = _whole(MOST_LIMIT, "a whole number")
_days = _whole(MOST_DAYS, "a number of days")
_port = _whole(2**16 - 1, "a port")
_slots = _whole(MOST_SLOTS, "a number of slots", least=1)
_connections = _whole(100, "a number of connections", least=3)


def _switch(value: str) -> bool:
    if value not in {"0", "1"}:
        raise ValueError("1, or 0")
    return value == "1"


_STORES = "a postgresql:// URL; leave it empty for SQLite in the data folder"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(//)?")


def _store(value: str) -> str:
    found = _SCHEME.match(value)
    if found is not None and found[0] not in {"postgresql://", "postgres://", "sqlite:"}:
        raise ValueError(_STORES)
    if found is not None and found[1]:
        try:
            # Several servers may stand there, separated by commas.
            for server in urlsplit(value).netloc.rpartition("@")[2].split(","):
                _ = urlsplit(f"//{server}").port
        except ValueError:
            raise ValueError(_STORES) from None
    return value


def _paths(value: str) -> tuple[Path, ...]:
    return tuple(Path(part) for part in value.split(":") if part)


def _words(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _networks(value: str) -> tuple[str, ...]:
    found = _words(value)
    for one in found:
        try:
            ip_network(one)
        except ValueError:
            raise ValueError("networks such as 10.0.0.0/8,127.0.0.1/32") from None
    return found


Labels = tuple[tuple[str, str], ...]


def _labels(value: str) -> Labels:
    pairs = [part.partition("=") for part in _words(value)]
    if not all(key and equals for key, equals, _ in pairs):
        raise ValueError("labels such as zone=a,gpu=none")
    return tuple((key, text) for key, _, text in pairs)


Sessions = tuple[tuple[str, int], ...]
_session_count = _whole(MOST_SLOTS, "a number of sessions")


def _sessions(value: str) -> Sessions:
    try:
        pairs = [(family, _session_count(count)) for family, count in _labels(value)]
    except ValueError:
        pairs = [("", 0)]
    if not all(family in FAMILIES for family, _ in pairs):
        raise ValueError(f"sessions such as nvenc=3, of {', '.join(FAMILIES)}")
    return tuple(pairs)


def _sandbox(value: str) -> str:
    if value not in SANDBOX:
        raise ValueError(f"one of {', '.join(SANDBOX)}")
    return value


def _worker_auth(value: str) -> str:
    if value not in WORKER_AUTH:
        raise ValueError(f"one of {', '.join(WORKER_AUTH)}")
    return value


def _sha256(value: str) -> str:
    if value and not re.fullmatch(r"[0-9a-f]{64}", value.lower()):
        raise ValueError("64 hexadecimal digits")
    return value.lower()


_HOST_NAME = re.compile(r"(\*\.)?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")


def _names(value: str) -> tuple[str, ...]:
    found = _words(value)
    for name in found:
        try:
            ip_address(name)
        except ValueError:
            if len(name) > 253 or not _HOST_NAME.fullmatch(name):
                raise ValueError("a list of host names and addresses such as farm.example.org,192.0.2.7") from None
    return found


def _hosts(value: str) -> tuple[str, ...]:
    return ("*",) if value == "*" else _names(value)


def _optional_path(value: str) -> Path | None:
    return Path(value) if value else None


def setting(
    default: Any,
    env: str,
    meaning: str,
    read: Callable[[str], object] = _text,
    *,
    aliases: tuple[str, ...] = (),
    secret: bool = False,
) -> Any:
    """A field that can be set by an environment variable."""
    metadata = {"env": env, "aliases": aliases, "meaning": meaning, "read": read, "secret": secret}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class MasterSettings:
    """What a master may be told."""

    data: Path = setting(Path("millrace-data"), "MILLRACE_DATA", "Folder for the embedded database, kept outputs and uploads.", Path)  # fmt: skip
    store: str = setting("", "MILLRACE_STORE", "Where jobs are kept: a `postgresql://` URL, with commas between the servers where one may follow another; empty for SQLite in the data folder.", _store, secret=True, aliases=("DATABASE_DSN",))  # fmt: skip
    store_connections: int = setting(8, "MILLRACE_STORE_CONNECTIONS", "Connections to PostgreSQL that a master opens at the most; masters on a small server take fewer by themselves, so that each gets its share.", _connections)  # fmt: skip
    store_may_lose: bool = setting(False, "MILLRACE_STORE_MAY_LOSE", "Run on PostgreSQL although a fail-over may lose, or has lost, what was answered as done (a standby that is not synchronous): 1.", _switch)  # fmt: skip
    blobs: str = setting("", "MILLRACE_BLOBS", "Where uploads and kept outputs lie: `s3://bucket/prefix`; empty for the data folder.", secret=True)  # fmt: skip
    host: str = setting("127.0.0.1", "MILLRACE_HOST", "Address to listen on. On any but a loopback address a master serves TLS, with a certificate of its own where none is given.")  # fmt: skip
    port: int = setting(8080, "MILLRACE_PORT", "Port to listen on; 0 takes any free one.", _port)
    tls_certificate: Path | None = setting(None, "MILLRACE_TLS_CERT", "Certificate chain in PEM.", _optional_path)
    tls_key: Path | None = setting(None, "MILLRACE_TLS_KEY", "Private key in PEM.", _optional_path)
    tls_names: tuple[str, ...] = setting((), "MILLRACE_TLS_NAMES", "Further host names and addresses, separated by commas, for which the certificate is good that a master makes itself.", _names)  # fmt: skip
    worker_auth: str = setting("any", "MILLRACE_WORKER_AUTH", "What workers must show: `any` (a key, or a certificate that stands for one), or `mtls` (a certificate of the farm's own authority).", _worker_auth)  # fmt: skip
    plain_http: bool = setting(False, "MILLRACE_PLAIN_HTTP", "Allow listening off loopback without TLS, behind a proxy that ends it: 1.", _switch)  # fmt: skip
    api_key: str = setting("", "MILLRACE_API_KEY", "The key that callers show; made and stored in the data folder where it is empty.", aliases=("MASTER_API_KEY", "FFMPEG_RTMP_API_KEY"), secret=True)  # fmt: skip
    hosts: tuple[str, ...] = setting((), "MILLRACE_HOSTS", "Host names by which the master may be asked beside addresses and `localhost`, separated by commas, such as `farm.example.org`, `*.example.org`, or `*` for any. Where it is empty: none beside them on a loopback address, any off it.", _hosts)  # fmt: skip
    lease_ttl_s: float = setting(15.0, "MILLRACE_LEASE_TTL", "Seconds of silence after which a worker counts as lost.", _seconds)  # fmt: skip
    heartbeat_s: float = setting(3.0, "MILLRACE_HEARTBEAT", "Seconds between a worker's heartbeats.", _seconds)
    max_retries: int = setting(3, "MILLRACE_MAX_RETRIES", "Attempts beyond the first, where a job does not say.", _count)  # fmt: skip
    ageing_s: int = setting(240, "MILLRACE_AGEING", "Seconds of head start for each unit of a job's weight.", _count)
    split: bool = setting(True, "MILLRACE_SPLIT", "Whether one film may be encoded on several workers at once: 1, or 0 for each film on one worker.", _switch)  # fmt: skip
    hedge: bool = setting(True, "MILLRACE_HEDGE", "Whether a slow part of a film that several workers share is made by a second, idle worker too: 1, or 0.", _switch)  # fmt: skip
    reject_after_s: float = setting(60.0, "MILLRACE_REJECT_AFTER", "Seconds that a job may wait for a node that could run it.", _seconds)  # fmt: skip
    rate_strangers: tuple[float, int] | None = setting((20.0, 100), "MILLRACE_RATE_STRANGERS", "Requests a second, and at once, from one address (of IPv6, from its /64) without a good key: RATE/BURST; 0 for no limit.", _rate)  # fmt: skip
    rate_changes: tuple[float, int] | None = setting(None, "MILLRACE_RATE_CHANGES", "The same for what one API key changes: jobs, uploads, nodes, keys. All masters together let it through.", _rate)  # fmt: skip
    rate_reads: tuple[float, int] | None = setting(None, "MILLRACE_RATE_READS", "The same for what one API key reads.", _rate)  # fmt: skip
    rate_machines: tuple[float, int] | None = setting((500.0, 2000), "MILLRACE_RATE_MACHINES", "The same for what one worker says that has joined with a key of its own.", _rate)  # fmt: skip
    keep_days: int = setting(30, "MILLRACE_KEEP_DAYS", "Days that finished jobs are kept; 0 keeps them for ever. Ended API keys are listed as long, or for 30 days.", _days)  # fmt: skip
    cache_mb: int = setting(10_000, "MILLRACE_CACHE_MB", "Megabytes that finished pieces of divided films may take among the blobs, which later jobs use again; those that were unused for longest go first; 0 keeps none, as under `up`, where workers share a folder.", _count)  # fmt: skip
    cache_days: int = setting(7, "MILLRACE_CACHE_DAYS", "Days for which a piece is kept that no job uses; 0 for no limit.", _days)  # fmt: skip
    webhook_allow_networks: tuple[str, ...] = setting((), "MILLRACE_WEBHOOK_ALLOW_NETWORKS", "Networks that webhooks may go to although they are not public, such as `10.0.0.0/8,127.0.0.1/32`.", _networks)  # fmt: skip

    tenant_concurrent: int | None = setting(None, "MILLRACE_TENANT_CONCURRENT", "Tasks of one tenant that run at the same time, where `millrace tenants set` says nothing of it; empty for no limit. The other three likewise.", _limit)  # fmt: skip
    tenant_queued: int | None = setting(None, "MILLRACE_TENANT_QUEUED", "Jobs of one tenant that have not ended.", _limit)  # fmt: skip
    tenant_per_day: int | None = setting(None, "MILLRACE_TENANT_PER_DAY", "Jobs of one tenant that are accepted in a day by UTC.", _limit)  # fmt: skip
    tenant_storage_bytes: int | None = setting(None, "MILLRACE_TENANT_STORAGE", "Bytes that one tenant's uploads, and its outputs that the master keeps, take together.", _limit)  # fmt: skip
    keep_audit_days: int = setting(365, "MILLRACE_KEEP_AUDIT_DAYS", "Days that the audit trail is kept; 0 keeps it for ever.", _days)  # fmt: skip
    keep_uploads_days: int = setting(
        7, "MILLRACE_KEEP_UPLOADS_DAYS", "Days that uploads are kept; 0 keeps them for ever.", _days
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What a worker may be told."""

    masters: tuple[str, ...] = setting((), "MILLRACE_MASTER", "Addresses of the masters, separated by commas.", _words, aliases=("MASTER_URL",))  # fmt: skip
    api_key: str = setting("", "MILLRACE_API_KEY", "The key to show to the master.", aliases=("MASTER_API_KEY", "FFMPEG_RTMP_API_KEY"), secret=True)  # fmt: skip
    state: Path = setting(Path("millrace-worker"), "MILLRACE_STATE", "Folder for the worker's identity and scratch space.", Path)  # fmt: skip
    name: str = setting("", "MILLRACE_NODE_NAME", "The node's name; empty for the host's.")
    slots: int = setting(1, "MILLRACE_SLOTS", "Tasks run at the same time.", _slots)
    sessions: Sessions = setting((), "MILLRACE_SESSIONS", "Sessions that each kind of hardware encoder may have at once, such as `nvenc=3`; empty: as many as can be opened when the worker starts. Several workers of one machine share a card: give each its part.", _sessions)  # fmt: skip
    cores: int | None = setting(None, "MILLRACE_CORES", "Processor cores that its tasks may keep busy together; empty for those of the machine or of its container, at most one for each gigabyte of memory.", _slots)  # fmt: skip
    labels: Labels = setting((), "MILLRACE_LABELS", "Labels such as `zone=a,disk=fast`.", _labels)  # fmt: skip
    media_roots: tuple[Path, ...] = setting((), "MILLRACE_MEDIA_ROOTS", "Folders that inputs and outputs by path must lie under, separated by colons.", _paths)  # fmt: skip
    min_free_mb: int = setting(512, "MILLRACE_MIN_FREE_MB", "Megabytes that must be free in scratch before work is taken.", _count)  # fmt: skip
    ffmpeg: Path | None = setting(None, "MILLRACE_FFMPEG", "An FFmpeg of the system; empty for the one that comes with Millrace.", _optional_path)  # fmt: skip
    ffmpeg_sha256: str = setting("", "MILLRACE_FFMPEG_SHA256", "SHA-256 that FFmpeg must have, or the worker does not start; empty for any.", _sha256)  # fmt: skip
    stall_s: float = setting(120.0, "MILLRACE_STALL", "Seconds without any progress after which an engine counts as stalled.", _seconds)  # fmt: skip
    timeout_s: float = setting(86400.0, "MILLRACE_TIMEOUT", "Seconds that a job may take which names no limit of its own; pauses do not count.", _seconds)  # fmt: skip
    engine_memory_mb: int = setting(0, "MILLRACE_ENGINE_MEMORY_MB", "Megabytes of memory that one engine may use with all that it starts, by a control group where the system permits one; 0 for no limit.", _count)  # fmt: skip
    engine_pids: int = setting(0, "MILLRACE_ENGINE_PIDS", "Processes and threads that one engine may have, by a control group where the system permits one; 0 for no limit but the worker's own, which ends an engine of more than 64 processes.", _count)  # fmt: skip
    input_allow_networks: tuple[str, ...] = setting((), "MILLRACE_INPUT_ALLOW_NETWORKS", "Networks that `http(s)` inputs may lie on although they are not public, such as `10.0.0.0/8,127.0.0.1/32`.", _networks)  # fmt: skip
    input_max_mb: int = setting(1_000_000, "MILLRACE_INPUT_MAX_MB", "Megabytes beyond which an input is not fetched.", _count)  # fmt: skip
    input_timeout_s: float = setting(21_600.0, "MILLRACE_INPUT_TIMEOUT", "Seconds that fetching an input may take.", _seconds)  # fmt: skip
    blobs: str = setting("", "MILLRACE_BLOBS", "The place that masters name by the same variable, or the folder `blobs` in their data folder, where this worker reaches it itself: pieces and kept outputs then go there directly.", secret=True)  # fmt: skip
    input_cache_mb: int = setting(10_000, "MILLRACE_INPUT_CACHE_MB", "Megabytes of inputs that were fetched over the network and are kept for the next task that wants the same one; 0 keeps none.", _count)  # fmt: skip
    input_cache_s: float = setting(3600.0, "MILLRACE_INPUT_CACHE_AGE", "Seconds after its last use for which such an input is kept.", _seconds)  # fmt: skip
    sandbox: str = setting("auto", "MILLRACE_SANDBOX", "Whether engines are shut in: `auto` as well as the machine can and with a warning where that is not all, `require` all of it or the worker does not start, `off`.", _sandbox)  # fmt: skip
    proofs: Path | None = setting(None, "MILLRACE_PROOFS", "File that remembers which encoders work, which several workers of one machine may share; empty for one in the state folder.", _optional_path)  # fmt: skip
    cache: Path | None = setting(None, "MILLRACE_CACHE", "Folder for finished pieces of films, which later jobs use again and several workers may share; empty for one in the state folder (of the data folder under `up`; `transcode` then keeps none).", _optional_path)  # fmt: skip
    cache_mb: int = setting(10_000, "MILLRACE_CACHE_MB", "Megabytes that the pieces in it may take, those that were unused for longest go first; 0 keeps none.", _count)  # fmt: skip
    cache_days: int = setting(7, "MILLRACE_CACHE_DAYS", "Days for which a piece is kept that no job uses; 0 for no limit.", _days)  # fmt: skip
    drain_timeout_s: float | None = setting(None, "MILLRACE_DRAIN_TIMEOUT", "Seconds that running tasks get to end after SIGTERM, before they are handed back; empty gives them as long as they take, and 5 under `up`.", _patience)  # fmt: skip
    ca: Path | None = setting(None, "MILLRACE_CA", "Certificate authority of the master in PEM.", _optional_path)
    join: str = setting("", "MILLRACE_JOIN", "A token of `millrace nodes invite`, with which a worker joins at its first start; later ones do not need it.", secret=True)  # fmt: skip


Settings = TypeVar("Settings", bound=MasterSettings | WorkerSettings)


def read(kind: type[Settings], environ: Mapping[str, str], **given: object) -> Settings:
    """The settings from the environment, with what the command line gave on top (None there means: not given).

    Text from the command line is judged like that from the environment.

    Raises:
        SettingError: a value is of no use.
    """
    values: dict[str, Any] = {}
    for each in fields(kind):
        if (value := given.get(each.name)) is not None:
            option = f"--{each.name.replace('_', '-')}"
            values[each.name] = _parse(each, option, value) if isinstance(value, str) else value
            continue
        for variable in (each.metadata["env"], *each.metadata["aliases"]):
            if environ.get(variable):
                values[each.name] = _parse(each, variable, environ[variable])
                break
    return kind(**values)


def _parse(each: "Field[Any]", called: str, text: str) -> object:
    try:
        return each.metadata["read"](text)
    except ValueError as error:
        shown = "its value" if each.metadata["secret"] else repr(text)
        raise SettingError(f"cannot use {called}: {shown} is not {error}") from error
