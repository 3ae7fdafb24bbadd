"""As whom a child runs: a user and a group by name or number, looked up when it starts."""

import grp
import os
import pwd

from msgspec import Struct

from millrace.process.values import CannotStart, RunAs


class Identity(Struct, frozen=True, kw_only=True):
    """What the names stand for. `change` is None where we are that already; `env` is HOME, USER and LOGNAME."""

    change: RunAs | None
    env: dict[str, str]


def identity(user: str | None, group: str | None) -> Identity:
    """Look up a user, a group, or both; without a user ours stays. Raises CannotStart for one that is not there."""
    uid, account = (os.getuid(), None) if user is None else _user(user)
    if account is None and user is None:
        account = _account(uid)
    if group is not None:
        gid = _group(group)
    elif account is not None:
        gid = account.pw_gid
    else:
        raise CannotStart(f"cannot start as user {user}: nobody is known by this number, so name a group too")
    # The groups of the account; without one, or without an entry for it, the one group and no other.
    groups = tuple(sorted(set(os.getgrouplist(account.pw_name, gid)))) if account is not None else (gid,)
    wanted = RunAs(uid=uid, gid=gid, groups=groups)
    same = (os.getuid(), os.getgid(), {*os.getgroups(), os.getgid()}) == (uid, gid, {*groups, gid})
    env: dict[str, str] = {}
    if user is not None:
        name = account.pw_name if account is not None else str(uid)
        env = {"HOME": account.pw_dir if account is not None else "/", "USER": name, "LOGNAME": name}
    return Identity(change=None if same else wanted, env=env)


def _user(user: str) -> tuple[int, pwd.struct_passwd | None]:
    if user.isdecimal():
        return int(user), _account(int(user))
    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise CannotStart(f"cannot start as user {user}: there is no such user; make it, or give a number") from None
    return account.pw_uid, account


def _account(uid: int) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        return None


def _group(group: str) -> int:
    if group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise CannotStart(f"cannot start as group {group}: there is no such group; make it, or give a number") from None
