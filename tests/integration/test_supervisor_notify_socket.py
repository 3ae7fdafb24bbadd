"""The sockets of processes: one flood does not take all the time, and leftovers are swept away."""

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

from millrace.runtime.clock import VirtualClock
from millrace.supervisor.health.notify_socket import BURST, PAUSE_S, NotifySocket
from millrace.supervisor.health.socket_folder import SocketFolder


def test_after_a_burst_others_get_their_turn(tmp_path: Path) -> None:
    async def whole() -> None:
        clock, heard = VirtualClock(), list[bytes]()
        it = NotifySocket(tmp_path / "s", uid=None)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as flood:
            for _ in range(BURST + 1):
                flood.sendto(b"x", str(it.path))
        listening = asyncio.create_task(it.listen(lambda _: True, heard.append, clock))
        async with asyncio.timeout(30):
            while not clock.sleeping:
                await asyncio.sleep(0)
        assert len(heard) == BURST
        await clock.advance(PAUSE_S)
        async with asyncio.timeout(30):
            while len(heard) <= BURST:
                await asyncio.sleep(0)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        it.close()

    asyncio.run(whole())


HOLDS = """
import sys, time
from pathlib import Path
from millrace.supervisor.health.socket_folder import SocketFolder
folder = SocketFolder([Path(sys.argv[1])])
(folder.path / "db-0").touch()
print(folder.path, flush=True)
time.sleep(1000)
"""


def test_what_a_killed_supervisor_left_is_removed_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    (tmp_path / "millrace-notify-link").symlink_to("/")
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        theirs = Path(other.stdout.readline().strip())
        ours = SocketFolder([tmp_path])
        was_left_alone = (theirs / "db-0").exists()
        other.kill()
    assert was_left_alone
    assert ours.path.stat().st_mode & 0o777 == 0o711
    third = SocketFolder([tmp_path])
    assert not theirs.exists()
    assert ours.path.exists()
    third.close()
    ours.close()
    assert [path.name for path in tmp_path.iterdir()] == ["millrace-notify-link"]


def test_a_place_that_refuses_is_passed_over(tmp_path: Path) -> None:
    it = SocketFolder([tmp_path / "none", tmp_path])
    assert it.path.parent == tmp_path
    it.close()
