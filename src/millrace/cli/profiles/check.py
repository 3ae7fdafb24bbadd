"""`millrace profiles check`."""

from pathlib import Path
from typing import Annotated

import typer

from millrace.cli import show
from millrace.cli.options import Output, OutputOption
from millrace.cli.profiles.load import read_profile


def check(
    file: Annotated[Path, typer.Argument(help="A profile in YAML.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Check a profile file; print every fault at once, or what the profile is."""
    from millrace.domain.media.profile_document import to_document  # noqa: PLC0415

    profile = read_profile(file)
    if output is Output.JSON:
        show.json_document(to_document(profile))
    else:
        print(f"{file}: the profile {profile.name} is valid")
