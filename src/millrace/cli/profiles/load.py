"""A profile as the command line names it: by name, by scenario, or by a YAML file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from millrace.cli.failure import CommandError

if TYPE_CHECKING:
    from millrace.domain.media.profile import Profile

SUFFIXES = (".yaml", ".yml", ".json")


def profile_or_document(wanted: str) -> str | dict[str, Any]:
    """The name as it is, or the whole document of a file.

    Raises:
        CommandError: the file cannot be read or holds no valid profile; names every fault.
    """
    if not _is_file(wanted):
        return wanted
    from millrace.domain.media.profile_document import to_document  # noqa: PLC0415  only for files

    return to_document(read_profile(Path(wanted)))


def _is_file(wanted: str) -> bool:
    return wanted.endswith(SUFFIXES) or "/" in wanted


def read_profile(path: Path) -> "Profile":
    """The profile in a file. Raises as :func:`profile_or_document`."""
    from millrace.domain.media.profile_document import ProfileError  # noqa: PLC0415  only for files
    from millrace.engines.profile_text import parsed  # noqa: PLC0415

    try:
        return parsed(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"cannot read the profile {path}: {error.strerror}", code=2) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"cannot read the profile {path}: it is no text", code=2) from error
    except ProfileError as error:
        faults = "".join(f"\n  {where}: {what}" for where, what in error.findings)
        raise CommandError(f"cannot use the profile {path}:{faults}", code=2) from error
