"""What a command line asks a supervisor to do: carried out here, or handed to the process that does."""

import os
import signal
from _pickle import dumps, loads  # what `pickle` itself takes, without the same once more in Python
from pathlib import Path

from msgspec import Struct

from millrace.programs.control_settings import ControlSettings
from millrace.supervisor.plans.layers import Layers


class Order(Struct, frozen=True, kw_only=True):
    """Keep the plan of `layers`, read from `config` and `changes` (None: beside it). `environ` is for its processes."""

    layers: Layers
    config: Path
    changes: Path | None = None
    control: ControlSettings
    environ: dict[str, str]

    def packed(self) -> bytes:
        """As bytes, for a process of this program only: what unpacks them trusts them."""
        return dumps(self)

    @classmethod
    def unpacked(cls, data: bytes) -> "Order":
        """From the bytes of `packed`."""
        order: Order = loads(data)
        return order

    def carried_out(self) -> int:
        """Keep what it says; returns the exit code when nothing is left."""
        import asyncio  # noqa: PLC0415  not needed by who reads the command line

        from millrace.cli.setting_up import collect_garbage, configure_logs  # noqa: PLC0415
        from millrace.programs.plan_apart import PlanApart  # noqa: PLC0415
        from millrace.programs.supervise import supervise  # noqa: PLC0415
        from millrace.runtime.clock import SystemClock  # noqa: PLC0415

        # Where this is not Python's own, asyncio leaves it as it is; its way would import half a megabyte to describe a task.
        signal.signal(signal.SIGINT, _interrupt)
        configure_logs(secrets=[self.control.key])
        collect_garbage()
        source = PlanApart(self.config, os.environ, SystemClock(), changes=self.changes)
        keeping = supervise(
            self.layers.plan, environ=self.environ, cwd=Path.cwd(), control=self.control, source=(source, self.layers)
        )
        return asyncio.run(keeping)


def _interrupt(*_: object) -> None:
    """Ctrl-C until the supervisor heeds it itself."""
    raise KeyboardInterrupt
