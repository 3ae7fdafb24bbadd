"""Show the YAML of a process without its secrets, and put them back into what comes back. Pure.

Variables are shown as they stand: `${DB_PASSWORD}` tells nothing. Whoever edits a process sends `***` back where it was, and
means what stands there.
"""

import re
from urllib.parse import urlsplit

import yaml

from millrace.supervisor.yaml_text import Findings
from millrace.telemetry.redact import MASK, Redactor

_REFERENCE = re.compile(r"\$\{[A-Za-z_][A-Za-z0-9_]*(?::\?[^}]*)?\}")
"""A value that is one variable, without a word that would stand in for it."""


def masked(node: yaml.Node, redactor: Redactor, name: str = "", *, within_env: bool = False) -> yaml.Node:
    """A copy in which every value of an environment, the path of a heartbeat's URL and whatever looks like a secret is `***`."""
    if isinstance(node, yaml.MappingNode):
        pairs = [(key, masked(value, redactor, str(key.value), within_env=name == "env")) for key, value in node.value]
        return yaml.MappingNode(node.tag, pairs, flow_style=node.flow_style)
    if isinstance(node, yaml.SequenceNode):
        names = ["", *(_option(one) for one in node.value)]
        items = [masked(one, redactor, names[index] or name) for index, one in enumerate(node.value)]
        return yaml.SequenceNode(node.tag, items, flow_style=node.flow_style)
    return _scalar(node, _shown(str(node.value), redactor, name, within_env=within_env))


def unmasked(new: yaml.Node, old: yaml.Node | None, redactor: Redactor, findings: Findings, path: str) -> yaml.Node:
    """A copy in which each `***` is what `old` has at that place; where it has no secret there, that is a finding."""
    return _put_back(new, old, None if old is None else masked(old, redactor), findings, path)


def _put_back(
    new: yaml.Node, old: yaml.Node | None, shown: yaml.Node | None, findings: Findings, path: str
) -> yaml.Node:
    if isinstance(new, yaml.MappingNode):
        pairs = []
        for key, value in new.value:
            name = str(key.value)
            inner = _put_back(value, _child(old, name), _child(shown, name), findings, f"{path}.{name}")
            pairs.append((key, inner))
        return yaml.MappingNode(new.tag, pairs, flow_style=new.flow_style)
    if isinstance(new, yaml.SequenceNode):
        items = [
            _put_back(one, _item(old, index), _item(shown, index), findings, f"{path}[{index}]")
            for index, one in enumerate(new.value)
        ]
        return yaml.SequenceNode(new.tag, items, flow_style=new.flow_style)
    if MASK not in str(new.value):
        return new
    if isinstance(old, yaml.ScalarNode) and isinstance(shown, yaml.ScalarNode) and shown.value == new.value:
        return old
    findings.append((path, f"holds {MASK}, and there is no secret at this place that it could stand for; write it out"))
    return new


def _shown(text: str, redactor: Redactor, name: str, *, within_env: bool) -> str:
    if _REFERENCE.fullmatch(text):
        return text
    if within_env:
        return MASK
    if name.endswith("_url"):
        parts = urlsplit(text)
        return f"{parts.scheme}://{parts.hostname}/{MASK}" if parts.hostname else text
    return str(redactor.value(text, name))


def _option(node: yaml.Node) -> str:
    """The name of an option whose value is the next argument."""
    text = str(node.value) if isinstance(node, yaml.ScalarNode) else ""
    return text if text.startswith("-") and "=" not in text and " " not in text else ""


def _scalar(node: yaml.Node, text: str) -> yaml.ScalarNode:
    if text == node.value:
        return node  # type: ignore[return-value]  # the caller has seen that it is no other
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style=getattr(node, "style", None))


def _child(node: yaml.Node | None, name: str) -> yaml.Node | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    return next((value for key, value in node.value if str(key.value) == name), None)


def _item(node: yaml.Node | None, index: int) -> yaml.Node | None:
    return node.value[index] if isinstance(node, yaml.SequenceNode) and index < len(node.value) else None
