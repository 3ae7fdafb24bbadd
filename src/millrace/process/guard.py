"""What sees to it that nothing of ours outlives us: the mark that all of it carries, the control group, the warden."""

import os
from threading import Thread

from millrace.process.grounds import close_grounds, grounds
from millrace.process.mark import carry, own_mark
from millrace.process.signals import inherit_nothing
from millrace.process.warden import Warden


class Guard:
    """Stands from when it is made until `close`. Once in a process, from its main thread, before anything is started."""

    def __init__(self) -> None:
        """Whatever is started from now on is found and killed also when we are ourselves killed."""
        inherit_nothing()
        mark = own_mark()
        # Before the mark and the group are ours, as it must be in neither.
        self._warden = Warden.post(mark, grounds().bases) if os.getpid() != 1 else None
        self._leaving: Thread | None = None
        grounds().gather()
        carry(mark)

    def leave(self) -> None:
        """Begin to leave the control group: what is started later is not born there. May be called twice.

        The kernel takes 10 ms for it, which the end of all would have to wait for otherwise.
        """
        if self._leaving is None:
            self._leaving = Thread(target=grounds().leave, name="leaves the control group", daemon=True)
            self._leaving.start()

    def stand_down(self) -> None:
        """Everything that was started has ended. Begins what `close` ends."""
        self.leave()
        if self._warden is not None:
            self._warden.relieve()

    def close(self) -> None:
        """Return when nothing is left of it, either."""
        self.stand_down()
        if self._leaving is not None:
            self._leaving.join()
        close_grounds()
        if self._warden is not None:
            self._warden.dismiss()
            self._warden = None
