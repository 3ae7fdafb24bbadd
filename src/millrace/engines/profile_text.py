"""Profiles as users write them: YAML, of which JSON is a part."""

import yaml

from millrace.domain.media.profile import Profile
from millrace.domain.media.profile_document import ProfileError, profile_from

MAX_BYTES = 256 * 1024


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
