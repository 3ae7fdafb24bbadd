"""`millrace profiles show`."""

import click

from millrace.cli import show as shown
from millrace.cli.failure import CommandError
from millrace.cli.options import Output, output_option


@click.command()
@click.argument("name")
@output_option
def show(name: str, output: Output) -> None:
    """Print a profile as YAML, ready to be changed and given back with --profile FILE.

    NAME is a profile's name, or a scenario such as 1080p30-h264.
    """
    import yaml  # noqa: PLC0415  only this command writes YAML

    from millrace.domain.media.profile_document import to_document  # noqa: PLC0415
    from millrace.engines import profiles  # noqa: PLC0415

    try:
        profile = profiles.named(name)
    except profiles.UnknownProfileError as error:
        raise CommandError(str(error)) from error
    if output is Output.JSON:
        shown.json_document(to_document(profile))
    else:
        print(yaml.safe_dump(to_document(profile), sort_keys=False), end="")
