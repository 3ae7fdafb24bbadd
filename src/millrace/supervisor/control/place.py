"""Where the control socket stands when nobody says otherwise."""

from collections.abc import Mapping, Sequence
from pathlib import Path

NAME = "millrace/supervise.sock"


def places(environ: Mapping[str, str], *, uid: int) -> Sequence[Path]:
    """The places in their order: the user's runtime folder (XDG Base Directory), and `/run` for root."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    own = [Path(runtime) / NAME] if Path(runtime).is_absolute() else []
    return [*own, *([Path("/run") / NAME] if uid == 0 else [])]
