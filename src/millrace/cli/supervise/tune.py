"""`millrace supervise tune`."""

import re
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import click

from millrace.cli.failure import CommandError
from millrace.cli.options import Output, output_option

if TYPE_CHECKING:
    from millrace.supervisor.tuning.values import Resources, Sizing

_MIB = 1 << 20
_SIZE = re.compile(r"(\d{1,12})([kKmMgGtT])?[bB]?\Z")
_UNITS = {None: 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


class _Memory(click.ParamType[int]):
    """Bytes, also as 512M or 2G; gives MiB."""

    name = "SIZE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The MiB."""
        found = _SIZE.match(str(value))
        mebibytes = int(found[1]) * _UNITS[found[2].lower() if found[2] else None] // _MIB if found else 0
        if not mebibytes:
            self.fail(f"{value!r} is no size of 1 MiB or more, such as 512M or 2G", param, ctx)
        return mebibytes


class _Cpus(click.ParamType[Fraction]):
    """A number of CPUs, also a fraction."""

    name = "NUMBER"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        """The CPUs."""
        text = str(value)
        if not re.fullmatch(r"\d{1,5}(\.\d{1,6})?", text) or not (found := Fraction(text)):
            self.fail(f"{value!r} is no number of CPUs, such as 4 or 0.5", param, ctx)
        return found


@click.command()
@click.argument("profile", required=False)
@click.option("--memory", type=_Memory(), help="Size to this much memory.  [default: the tightest limit]")
@click.option("--cpus", type=_Cpus(), help="Size to so many CPUs.  [default: the tightest limit]")
@click.option("--env", is_flag=True, help="Print the variables alone, as NAME=value.")
@click.option("--json", "as_json", is_flag=True, help="The same as --output json.")
@output_option
def tune(
    profile: str | None, memory: int | None, cpus: Fraction | None, env: bool, as_json: bool, output: Output
) -> None:
    """Show how many workers a pool gets as PROFILE, which limit binds it, and the variables that its process gets.

    Without a profile, show what there is: all profiles, and the limits of memory and CPUs.
    """
    from millrace.cli.show import json_document  # noqa: PLC0415  not needed for --help
    from millrace.supervisor.tuning.catalogue import profiles  # noqa: PLC0415
    from millrace.supervisor.tuning.sizing import size  # noqa: PLC0415
    from millrace.supervisor.tuning.values import CannotTune, Tune  # noqa: PLC0415

    wants_json = as_json or output is Output.JSON
    try:
        there = _there(memory, cpus)
        if profile is None:
            names = {name: found.about for name, found in profiles().items()}
            if wants_json:
                json_document({"resources": _resources(there), "profiles": names})
            else:
                print("\n".join([*_limits(there), *(f"{name:16} {about}" for name, about in names.items())]))
            return
        if profile not in profiles():
            raise CommandError(f"cannot size as {profile}: there is {', '.join(profiles())}", code=2)
        found = size(Tune(profile=profile), profiles()[profile], there)
    except CannotTune as error:
        raise CommandError(str(error)) from error
    if wants_json:
        json_document(_document(found))
    elif env:
        print("\n".join(f"{name}={value}" for name, value in found.variables.items()))
    else:
        print("\n".join(_explained(found)))


def _there(memory: int | None, cpus: Fraction | None) -> "Resources":
    from msgspec.structs import replace  # noqa: PLC0415  not needed for --help

    from millrace.supervisor.tuning.limits import resources  # noqa: PLC0415
    from millrace.supervisor.tuning.values import Resources  # noqa: PLC0415

    if memory is not None and cpus is not None:
        return Resources(memory_mb=memory, cpus=cpus, memory_from="--memory", cpus_from="--cpus")
    found = resources()
    if memory is not None:
        found = replace(found, memory_mb=memory, memory_from="--memory")
    return found if cpus is None else replace(found, cpus=cpus, cpus_from="--cpus")


def _limits(there: "Resources") -> list[str]:
    return [
        f"memory  {there.memory_mb} MiB ({there.memory_from})",
        f"CPUs    {float(there.cpus):g} ({there.cpus_from})",
    ]


def _explained(found: "Sizing") -> list[str]:
    allowed = ", ".join(f"{bound.value} {count}" for bound, count in found.candidates.items())
    return [
        *_limits(found.resources),
        f"workers {found.workers}, bound by {found.bound.value} (alone: {allowed}); full, the pool takes {found.used_mb} MiB",
        *(f"  {name}={value}" for name, value in found.variables.items()),
        *(f"  warning: {warning}" for warning in found.warnings),
    ]


def _resources(there: "Resources") -> dict[str, Any]:
    return {
        "memory_mb": there.memory_mb, "memory_from": there.memory_from, "cpus": float(there.cpus), "cpus_from": there.cpus_from,
    }  # fmt: skip


def _document(found: "Sizing") -> dict[str, Any]:
    return {
        "profile": found.profile, "workers": found.workers, "bound": found.bound.value,
        "candidates": {bound.value: count for bound, count in found.candidates.items()}, "used_mb": found.used_mb,
        "resources": _resources(found.resources), "variables": found.variables, "warnings": found.warnings,
    }  # fmt: skip
