"""The file that says who may do what at a control API, read anew when it changes."""

import grp
import os
import pwd
import stat
import time
from collections.abc import Callable, Sequence
from datetime import date, datetime
from datetime import time as time_of_day
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Struct

from millrace.config.errors import SettingError
from millrace.domain.roles import Role
from millrace.edge.access import GRANTS, PeerRule, Rate, Rates, Rules, SubjectRule
from millrace.edge.decode import field_error
from millrace.edge.keys import Key, Keys
from millrace.programs.http.listen import hosts_of
from millrace.supervisor import yaml_text
from millrace.telemetry.logs import logger

log = logger("supervisor")
_LOOK_S = 1.0
_Role = Literal["viewer", "operator", "admin", "worker"]
"""A supervisor has nothing to submit to."""
_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class _KeyPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: _Text
    role: _Role
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
    expires: date | None = None


class _PeerPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    role: _Role
    user: _Text | int | None = None
    group: _Text | int | None = None


class _SubjectPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    role: _Role
    subject: _Text


class _RatePart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    per_second: Annotated[float, msgspec.Meta(gt=0, le=1_000_000)] = Rate().per_s
    burst: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = Rate().burst


class _Document(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    keys: tuple[_KeyPart, ...] = ()
    peers: tuple[_PeerPart, ...] = ()
    certificates: tuple[_SubjectPart, ...] = ()
    networks: tuple[_Text, ...] | None = None
    hosts: tuple[_Text, ...] = ()
    rate: _RatePart | None = _RatePart()


def rules_from(text: str, *, now_s: Callable[[], float]) -> Rules:
    """The rules that a file holds.

    Raises:
        ValueError: what is wrong, as a phrase with the place.
    """
    document = yaml_text.read(text, {})
    if document.findings:
        raise ValueError("; ".join(f"{path}: {message}".removeprefix(": ") for path, message in document.findings))
    try:
        found = msgspec.convert(document.document if document.document is not None else {}, _Document)
    except msgspec.ValidationError as error:
        wrong = field_error(str(error), _Document)
        allowed = f"; allowed: {', '.join(wrong.allowed)}" if wrong.allowed else ""
        raise ValueError(f"{wrong.field or 'the file'}: {wrong.message}{allowed}") from None
    keys = [_key(one) for one in found.keys]
    names = [one.name for one in keys]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"keys: {twice} is the name of two")
    return Rules(
        keys=Keys(keys, now_s=now_s) if keys else None,
        peers=tuple(_peer(index, one) for index, one in enumerate(found.peers)),
        subjects=tuple(_subject(index, one) for index, one in enumerate(found.certificates)),
        networks=None if found.networks is None else tuple(map(_network, found.networks)),
        rates=None if found.rate is None else Rates(all=Rate(per_s=found.rate.per_second, burst=found.rate.burst)),
        hosts=frozenset(found.hosts),
    )


def _key(one: _KeyPart) -> Key:
    # A day of expiry is the last one on which the key is good, in the time zone of the machine.
    ends_s = datetime.combine(one.expires, time_of_day.max).timestamp() if one.expires else None
    return Key(
        digest=bytes.fromhex(one.sha256), name=one.name, role=one.role, grants=GRANTS[Role(one.role)], ends_s=ends_s
    )


def _peer(index: int, one: _PeerPart) -> PeerRule:
    if (one.user is None) == (one.group is None):
        raise ValueError(f"peers[{index}]: give either user or group")
    try:
        if one.user is not None:
            return PeerRule(
                role=Role(one.role), uid=one.user if isinstance(one.user, int) else pwd.getpwnam(one.user).pw_uid
            )
        group = one.group if isinstance(one.group, int) else grp.getgrnam(str(one.group)).gr_gid
        return PeerRule(role=Role(one.role), gid=group)
    except KeyError:
        kind, name = ("user", one.user) if one.user is not None else ("group", one.group)
        raise ValueError(f"peers[{index}].{kind}: nobody here is called {name}") from None


def _subject(index: int, one: _SubjectPart) -> SubjectRule:
    attributes = frozenset(part.strip() for part in one.subject.split(","))
    if not all("=" in part[1:] for part in attributes):
        raise ValueError(f"certificates[{index}].subject: is no subject such as CN=ci, or CN=ci,O=Example")
    return SubjectRule(role=Role(one.role), attributes=attributes)


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ValueError(f"networks: {error}; write one such as 10.0.0.0/8 or 192.0.2.7") from None


class AccessFile:
    """The rules of a file as they are now. While it cannot be used, nobody but `usual` may do anything, from nowhere on TCP."""

    def __init__(
        self, path: Path | None, *, usual: Sequence[PeerRule], usual_keys: Sequence[Key], listens_on: str = ""
    ) -> None:
        """`usual` and `usual_keys` hold beside what the file says; without a file they are all there is. `listens_on` is the
        address on TCP.

        Raises:
            SettingError: the file cannot be used.
        """
        self._path = path
        self._usual = tuple(usual)
        self._usual_keys = tuple(usual_keys)
        self._listens_on = listens_on
        self._looked_s = time.monotonic()
        self._seen: tuple[int, ...] = ()
        self._now = self._with_usual(Rules(rates=Rates(all=Rate())))
        if path is not None:
            try:
                self._now = self._read(path)
            except (OSError, ValueError) as error:
                raise SettingError(f"cannot use the access file {path}: {_reason(error)}") from error

    @property
    def rules(self) -> Rules:
        """What holds now. A change of the file is seen within a second."""
        now_s = time.monotonic()
        if self._path is not None and now_s - self._looked_s >= _LOOK_S:
            self._looked_s = now_s
            self._look(self._path)
        return self._now

    def _look(self, path: Path) -> None:
        try:
            seen = _print_of(path.stat())
        except OSError:
            seen = (0,)
        if seen == self._seen:
            return
        try:
            self._now = self._read(path)
            log.info("supervisor.access_changed", file=str(path))
        except (OSError, ValueError) as error:
            self._seen = seen
            self._now = Rules(peers=self._usual, networks=(), rates=Rates(all=Rate()))
            log.error(  # noqa: TRY400  the reason is a sentence for an operator
                "supervisor.access_unusable", file=str(path), why=_reason(error), means="nobody comes in by TCP"
            )

    def _read(self, path: Path) -> Rules:
        with path.open(encoding="utf-8") as file:
            found = os.fstat(file.fileno())
            self._seen = _print_of(found)
            if stat.S_IMODE(found.st_mode) & 0o022:
                raise ValueError("others may write to it; take that away with chmod go-w")
            return self._with_usual(rules_from(file.read(), now_s=time.time))

    def _with_usual(self, rules: Rules) -> Rules:
        keys = [*self._usual_keys, *(rules.keys.all if rules.keys is not None else ())]
        return msgspec.structs.replace(
            rules,
            keys=Keys(keys, now_s=time.time) if keys else None,
            # First, so that nobody can shut out who runs it.
            peers=(*self._usual, *rules.peers),
            hosts=hosts_of(self._listens_on, rules.hosts or ()),
        )


def _print_of(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode)


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
