"""Profiles by name: the built-in ones, which are data beside this file, and scenario names.

The data is JSON, which every start of a master reads in no time; what users write is YAML, see `profile_text`.
"""

import json
from functools import cache
from pathlib import Path

from millrace.domain.media.profile import Profile
from millrace.domain.media.profile_document import profile_from
from millrace.domain.media.scenario import FORM, scenario

_BUILTIN = Path(__file__).with_name("builtin")


class UnknownProfileError(Exception):
    """No profile has this name; the message names near ones and all that exist."""


def names() -> tuple[str, ...]:
    """Names of the built-in profiles, sorted."""
    return tuple(sorted(path.stem for path in _BUILTIN.glob("*.json")))


@cache
def named(name: str) -> Profile:
    """The built-in profile or scenario of this name.

    Raises:
        UnknownProfileError: there is none.
    """
    if name in names():
        return profile_from(json.loads((_BUILTIN / f"{name}.json").read_bytes()))
    found = scenario(name)
    if found is not None:
        return found
    import difflib  # noqa: PLC0415  for mistakes only

    near = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UnknownProfileError(
        f"cannot find a profile named {name[:80]!r}: {hint}there are {', '.join(names())}, and scenarios of the form {FORM}"
    )
