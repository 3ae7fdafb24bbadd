"""`millrace profiles list`."""

import click

from millrace.cli import show
from millrace.cli.options import Output, output_option


@click.command()
@output_option
def list_profiles(output: Output) -> None:
    """List the profiles that come with Millrace."""
    from millrace.domain.media.profile_document import to_document  # noqa: PLC0415
    from millrace.domain.media.scenario import FORM  # noqa: PLC0415
    from millrace.engines import profiles  # noqa: PLC0415

    found = [profiles.named(name) for name in profiles.names()]
    if output is Output.JSON:
        show.json_document({"profiles": [to_document(profile) for profile in found]})
        return
    show.table(["name", "what it makes"], [[profile.name, profile.description] for profile in found], empty="")
    print(f"\nA scenario is a profile by its parts: {FORM}")
