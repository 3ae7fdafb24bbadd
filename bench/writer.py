"""A child that writes: COUNT lines of 100 bytes in blocks of 40, then tells REPORT its seconds and its longest wait in ms.

Usage: writer.py COUNT REPORT. It stays until it is ended, so that nobody starts it again.
"""

import os
import signal
import sys
import time

count, report = int(sys.argv[1]), sys.argv[2]
BLOCK = 40  # lines, 4,000 bytes: what a stdio buffer gives out at once
blocks = [b"".join(b"%08d %s\n" % (0, b"x" * 90) for _ in range(BLOCK))]
began_s, longest_s = time.perf_counter(), 0.0
for _ in range(count // BLOCK):
    before_s = time.perf_counter()
    left = memoryview(blocks[0])
    while left:
        left = left[os.write(1, left) :]
    longest_s = max(longest_s, time.perf_counter() - before_s)
with open(report, "w") as told:  # noqa: PTH123  a pipe
    told.write(f"{time.perf_counter() - began_s:.3f} {longest_s * 1000:.1f}\n")
while True:
    signal.pause()
