"""Named SQL: a file of blocks, each begun by a line ``-- name: claim_next``, as a mapping from name to text.

The two databases keep the same names in folders of their own, and a test compares the sets.
"""

import re
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType

_NAME = re.compile(r"^-- name: (\w+)\s*$", re.MULTILINE)


def parse(text: str) -> dict[str, str]:
    """The blocks of one file; comments stay in the text.

    Raises:
        ValueError: a name stands twice, or text stands before the first name that is no comment.
    """
    head, *rest = _NAME.split(text)
    if any(line.strip() and not line.startswith("--") for line in head.splitlines()):
        raise ValueError("cannot read SQL blocks: a statement stands before the first name")
    blocks: dict[str, str] = {}
    for name, body in zip(rest[::2], rest[1::2], strict=True):
        if name in blocks:
            raise ValueError(f"cannot read SQL blocks: {name} stands twice")
        blocks[name] = body.strip().removesuffix(";")
    return blocks


def folder_of(package: str) -> Path:
    """Where a package lies. `importlib.resources`, which can read archives too, takes 2 ms of every start."""
    return Path(import_module(package).__path__[0])


@cache
def load_queries(package: str) -> Mapping[str, str]:
    """Every block of every ``.sql`` file directly in a package, such as ``millrace.store.sqlite``."""
    blocks: dict[str, str] = {}
    for path in sorted(folder_of(package).glob("*.sql")):
        for name, sql in parse(path.read_text(encoding="utf-8")).items():
            if name in blocks:
                raise ValueError(f"cannot read SQL blocks: {name} stands in two files")
            blocks[name] = sql
    return MappingProxyType(blocks)
