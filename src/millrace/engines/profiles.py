"""Profiles by name: the built-in ones (YAML data beside this file), scenario names, and a user's own file."""

import difflib
from functools import cache
from importlib import resources

import yaml

from millrace.domain.media.profile import Profile
from millrace.domain.media.profile_document import ProfileError, profile_from
from millrace.domain.media.scenario import FORM, scenario

MAX_BYTES = 256 * 1024


class UnknownProfileError(Exception):
    """No profile has this name; the message names near ones and all that exist."""


def names() -> tuple[str, ...]:
    """Names of the built-in profiles, sorted."""
    folder = resources.files(__package__) / "builtin"
    return tuple(sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")))


@cache
def named(name: str) -> Profile:
    """The built-in profile or scenario of this name.

    Raises:
        UnknownProfileError: there is none.
    """
    if name in names():
        return parsed((resources.files(__package__) / "builtin" / f"{name}.yaml").read_text(encoding="utf-8"))
    found = scenario(name)
    if found is not None:
        return found
    near = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UnknownProfileError(
        f"cannot find a profile named {name[:80]!r}: {hint}there are {', '.join(names())}, and scenarios of the form {FORM}"
    )


def parsed(text: str) -> Profile:
    """The profile in a YAML (or JSON) text.

    Raises:
        ProfileError: the text is no YAML, no mapping, too long, or no valid profile.
    """
    if len(text) > MAX_BYTES:
        raise ProfileError([("profile", f"is longer than {MAX_BYTES} characters")])
    try:
        document = yaml.load(text, Loader=_PlainLoader)  # noqa: S506  # a SafeLoader without aliases
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = getattr(error, "problem_mark", None)
        line = f" in line {where.line + 1}" if where is not None else ""
        raise ProfileError([("profile", f"is no valid YAML{line}")]) from error
    return profile_from(document)


class _PlainLoader(yaml.SafeLoader):
    """Plain data only: aliases are refused, because nested ones grow without bound, and doubled keys hide mistakes."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        return super().compose_node(parent, index)

    def construct_mapping(
        self, node: yaml.MappingNode, deep: bool = False
    ) -> dict[object, object]:  # PyYAML's signature
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        if len(set(map(str, keys))) != len(keys):
            raise yaml.constructor.ConstructorError(None, None, "a key stands twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)
