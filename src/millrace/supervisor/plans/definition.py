"""The YAML of one process, as it is kept, shown and edited. Pure."""

from typing import Any

import yaml

from millrace.supervisor.plans.masks import masked, unmasked
from millrace.supervisor.yaml_text import Findings, document_of, node_in, spelled, written_open
from millrace.telemetry.redact import Redactor


def entry_from(text: str) -> str:
    """The YAML of one process, as it is kept: one mapping, without comments.

    Raises:
        ValueError: it is something else; a phrase.
    """
    node = node_in(text)
    if not isinstance(node, yaml.MappingNode):
        raise ValueError("must be a mapping, such as {command: [nginx]}")  # noqa: TRY004  a fault of a text
    return spelled(node)


def entry_from_data(document: Any) -> str:
    """As :func:`entry_from`, of what is no text yet."""
    return entry_from(written_open(document))


def shown(entry: str, redactor: Redactor) -> dict[str, Any]:
    """One without secrets, as a text and as data: `yaml`, `process`."""
    node = masked(node_in(entry), redactor)
    return {"yaml": spelled(node), "process": document_of(node)}


def with_secrets(entry: str, before: str | None, redactor: Redactor, path: str) -> tuple[str, Findings]:
    """With what `before` has where it holds `***`; a finding for each that stands for nothing."""
    findings: Findings = []
    found = unmasked(node_in(entry), None if before is None else node_in(before), redactor, findings, path)
    return spelled(found), findings
