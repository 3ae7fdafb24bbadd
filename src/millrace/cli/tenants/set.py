"""`millrace tenants set`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import click
from msgspec import UNSET, UnsetType

from millrace.cli.options import Output, Target, output_option, target_options
from millrace.cli.session import connect
from millrace.cli.tenants.quotas import record
from millrace.client import people
from millrace.wire.v1.tenants import TenantRequest

NO_LIMIT = "none"
_UNITS: Mapping[str, int] = MappingProxyType({"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12})


class Limit(click.ParamType[Any]):
    """A whole number, or `none`."""

    name = "limit"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number, or None where there is no limit."""
        if value is UNSET:
            return value
        text = str(value)
        if text == NO_LIMIT:
            return None
        number = self._number(text)
        if number is None or number > 2**53:
            return self.fail(f"{text!r} is no limit; write {self.example}, or {NO_LIMIT}", param, ctx)
        return number

    example = "a whole number"

    def _number(self, text: str) -> int | None:
        return int(text) if text.isascii() and text.isdigit() and len(text) <= 16 else None


class Bytes(Limit):
    """A number of bytes such as `500MB`, or `none`."""

    example = "a size such as 500MB or 2TB"

    def _number(self, text: str) -> int | None:
        digits = text.rstrip("kMGTB")
        unit = _UNITS.get(text[len(digits) :] or "B")
        number = super()._number(digits)
        return None if unit is None or number is None else number * unit


@click.command("set")
@click.argument("tenant", metavar="TENANT")
@click.option("--concurrent", type=Limit(), default=UNSET, metavar="N", help="Tasks that run at the same time; further ones wait.")  # fmt: skip
@click.option("--queued", type=Limit(), default=UNSET, metavar="N", help="Jobs that have not ended.")
@click.option("--per-day", type=Limit(), default=UNSET, metavar="N", help="Jobs accepted since midnight UTC.")
@click.option("--storage", type=Bytes(), default=UNSET, metavar="SIZE", help="Uploads, and outputs that the master keeps, such as 500GB.")  # fmt: skip
@click.option("--weight", type=click.IntRange(1, 100), default=None, metavar="N", help="How many of its jobs run for one of another tenant, where both wait; 1 unless said.")  # fmt: skip
@click.option("--input", "inputs", multiple=True, metavar="PLACE", help="Folder or URL prefix that jobs may name as an input; repeatable, and all that may be: none lets them name any.")  # fmt: skip
@click.option("--output-place", "outputs", multiple=True, metavar="PLACE", help="The same for outputs.")
@target_options
@output_option
def set_tenant(
    tenant: str,
    concurrent: int | UnsetType | None,
    queued: int | UnsetType | None,
    per_day: int | UnsetType | None,
    storage: int | UnsetType | None,
    weight: int | None,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    target: Target,
    output: Output,
) -> None:
    """Limit a tenant, or change its limits. What is not named stays as it is; `none` ends a limit."""
    request = TenantRequest(
        concurrent=concurrent,
        queued=queued,
        per_day=per_day,
        storage_bytes=storage,
        weight=UNSET if weight is None else weight,
        inputs=_places(inputs),
        outputs=_places(outputs),
    )
    with connect(target) as client:
        record(client.do(people.set_tenant(tenant, request)), output)


def _places(given: tuple[str, ...]) -> list[str] | UnsetType:
    return UNSET if not given else [] if given == (NO_LIMIT,) else list(given)
