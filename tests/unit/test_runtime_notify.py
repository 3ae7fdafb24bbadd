import asyncio
import os
import signal
import socket

import pytest

from millrace.runtime.clock import VirtualClock
from millrace.runtime.notify import Notifier, watchdog
from millrace.runtime.signals import stop_signals


def test_systemd_hears_each_message(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3000000"})
        notifier.ready()
        notifier.status("two\nlines")
        notifier.watchdog()
        notifier.stopping()
        heard = [listener.recv(100).decode() for _ in range(4)]
    assert heard == ["READY=1", "STATUS=two lines", "WATCHDOG=1", "STOPPING=1"]
    assert notifier.watchdog_interval_s == 1.5


def test_the_abstract_namespace_is_understood():
    name = f"millrace-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name)
        Notifier({"NOTIFY_SOCKET": "@" + name}).ready()
        assert listener.recv(100) == b"READY=1"


def test_nobody_listening_is_no_error(tmp_path):
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    assert Notifier({"WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}).watchdog_interval_s is None


def test_the_watchdog_is_fed_twice_as_often_as_systemd_asks_and_no_longer_once_stopped(tmp_path):
    async def scene(listener):
        clock = VirtualClock()
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000000"})
        counts = []
        async with watchdog(notifier, clock=clock):
            for _ in range(4):
                await clock.settle()
                counts.append(heard(listener))
                await clock.advance(30.0)
        heard(listener)
        await clock.advance(300.0)
        counts.append(heard(listener))
        return counts

    def heard(listener):
        count = 0
        while True:
            try:
                assert listener.recv(100) == b"WATCHDOG=1"
            except BlockingIOError:
                return count
            count += 1

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        assert asyncio.run(scene(listener)) == [1, 1, 1, 1, 0]


@pytest.mark.parametrize("asked", [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}])
def test_a_watchdog_that_nobody_asked_for_says_nothing(tmp_path, asked):
    async def scene():
        clock = VirtualClock()
        async with watchdog(Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), **asked}), clock=clock):
            await clock.advance(300.0)

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        asyncio.run(scene())
        with pytest.raises(BlockingIOError):
            listener.recv(100)


def test_the_first_signal_drains_and_the_second_hurries():
    async def scene():
        heard = []
        async with stop_signals(heard.append) as request:
            os.kill(os.getpid(), signal.SIGTERM)
            await request.drain.wait()
            assert not request.hurry.is_set()
            os.kill(os.getpid(), signal.SIGINT)
            await request.hurry.wait()
        return heard

    assert asyncio.run(scene()) == [signal.SIGTERM, signal.SIGINT]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
