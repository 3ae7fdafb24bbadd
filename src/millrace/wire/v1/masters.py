"""Masters."""

from datetime import datetime

from millrace.wire.v1.base import Reply


class MasterView(Reply):
    """A master that lives. One of them leads: it does what one is enough for."""

    id: str
    name: str
    version: str
    leads: bool
    started: datetime
    seen: datetime


class MasterList(Reply):
    """Every master on this store, oldest first; `epoch` grows with each new leader. `here` is the one that answers."""

    masters: list[MasterView]
    epoch: int
    here: str
