"""`millrace profiles check`."""

from pathlib import Path

import click

from millrace.cli import show
from millrace.cli.options import PATH, Output, output_option
from millrace.cli.profiles.load import read_profile


@click.command()
@click.argument("file", type=PATH)
@output_option
def check(file: Path, output: Output) -> None:
    """Check a profile file; print every fault at once, or what the profile is."""
    from millrace.domain.media.profile_document import to_document  # noqa: PLC0415

    profile = read_profile(file)
    if output is Output.JSON:
        show.json_document(to_document(profile))
    else:
        print(f"{file}: the profile {profile.name} is valid")
