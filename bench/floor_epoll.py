"""A Python floor for the bench of the supervisor: posix_spawn, a pidfd each, one epoll, nothing else.

Usage: floor_epoll.py COUNT OUTPUT COMMAND...; keeps COUNT of the command running until SIGTERM. With OUTPUT other than `-`
it copies what they write there, in blocks.
"""

import os
import select
import signal
import sys

count, output, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
poll = select.epoll()
children: dict[int, int] = {}
sink = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if output != "-" else -1
pipe = os.pipe() if sink >= 0 else (-1, -1)
actions = [(os.POSIX_SPAWN_DUP2, pipe[1], 1)] if sink >= 0 else []
ended, wake = os.pipe()
os.set_blocking(wake, False)
signal.set_wakeup_fd(wake)
signal.signal(signal.SIGTERM, lambda *_: None)


def start() -> None:
    pid = os.posix_spawnp(command[0], command, os.environ, file_actions=actions, setsid=True, setsigmask=[])
    descriptor = os.pidfd_open(pid)
    children[descriptor] = pid
    poll.register(descriptor, select.EPOLLIN)


poll.register(ended, select.EPOLLIN)
if sink >= 0:
    poll.register(pipe[0], select.EPOLLIN)
for _ in range(count):
    start()
going = True
while children:
    for descriptor, _ in poll.poll():
        if descriptor == ended and going:
            going = False
            for pid in children.values():
                os.kill(pid, signal.SIGTERM)
            poll.unregister(ended)
        elif descriptor == pipe[0]:
            os.write(sink, os.read(descriptor, 1 << 16))
        elif descriptor in children:
            os.waitpid(children.pop(descriptor), 0)
            poll.unregister(descriptor)
            os.close(descriptor)
            if going:
                start()
