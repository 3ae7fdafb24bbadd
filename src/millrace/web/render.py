"""Templates to bytes. Every value is escaped; nothing is compiled before the first page is asked for."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from millrace.edge.call import Answer
from millrace.web import present

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).parent
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types page"
)
HEADERS = (
    ("content-security-policy", CSP),
    ("referrer-policy", "no-referrer"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
)


@cache
def _templates() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415  60 ms, at the first page

    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        ago=present.ago, span=present.span, size=present.size, percent=present.percent, tail=present.tail,
        streams=present.streams,
    )  # fmt: skip
    return environment


def page(template: str, values: Mapping[str, object], *, status: int = 200) -> Answer:
    """A whole page, or a part of one."""
    body = _templates().get_template(template).render(values).encode()
    return Answer(body=body, status=status, media="text/html; charset=utf-8", headers=HEADERS)


@cache
def asset(name: str) -> tuple[bytes, str] | None:
    """A file of the page's own and its content type; None where there is none of this name."""
    kinds = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
    known = {path.name: path for path in (HERE / "assets").iterdir()}
    if name not in known or name.rpartition(".")[2] not in kinds:
        return None
    return known[name].read_bytes(), kinds[name.rpartition(".")[2]]
