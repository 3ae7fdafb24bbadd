"""The OpenAPI 3.1 description of a master."""

import sys
from pathlib import Path
from typing import Any

import millrace
from millrace.api.examples import EXAMPLES
from millrace.api.table import TABLE
from millrace.edge import openapi

_ABOUT = """Jobs go in, checked video comes out. Every refusal is `application/problem+json` (RFC 9457): the last part
of its `type` tells programs what it is, `detail` tells people, and `errors` names the fields at fault.""".replace(
    "\n", " "
)


def describe(version: str) -> dict[str, Any]:
    """The document, as plain data."""
    return openapi.describe(TABLE, title="Millrace", version=version, about=_ABOUT, examples=EXAMPLES)


def document(version: str) -> bytes:
    """The document as it is served and kept in `docs/reference/openapi.json`."""
    return openapi.written(describe(version))


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(document(millrace.__version__))
