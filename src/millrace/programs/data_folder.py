"""The folder that holds all of a farm: made where it is missing, or a sentence about why it cannot be used."""

from pathlib import Path

from millrace.blobs.disk import sync_folder
from millrace.config.errors import SettingError
from millrace.programs.exhausted import ExhaustedError, is_exhausted
from millrace.runtime.no_space import NO_SPACE


def make(data: Path) -> None:
    """Have the folder, for its owner alone, and so that a power cut leaves it there.

    Raises:
        SettingError: another one must be named.
        ExhaustedError: there is no space for it.
    """
    try:
        missing = [folder for folder in (data, *data.parents) if not folder.exists()]
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        for folder in missing:
            sync_folder(folder.parent)
    except OSError as error:
        raise unusable(data, error) from error


def unusable(data: Path, error: OSError) -> SettingError | ExhaustedError:
    """What to raise where the folder, or a file in it, cannot be made."""
    doing = f"cannot use {data} as the data folder"
    if error.errno in NO_SPACE:
        return ExhaustedError(
            f"{doing}: no space is left on its disk; free some and start again, or name another folder"
        )
    if is_exhausted(error):
        return ExhaustedError(f"{doing}: {error.strerror}")
    reason = "it is no folder" if isinstance(error, FileExistsError | NotADirectoryError) else error.strerror
    return SettingError(f"{doing}: {reason}; name another one")
