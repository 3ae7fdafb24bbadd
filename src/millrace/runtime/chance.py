"""Chance as an argument: the system's own, and in tests a `random.Random` with a seed."""

import os
import random

_AHEAD = 4096
_SMALL = 16
"""Bytes of the largest draw from what was fetched ahead; a secret is longer, and must not lie in memory before it is made."""


class SystemChance(random.SystemRandom):
    """What the kernel gives (getrandom(2)). Identifiers are cut from what was fetched ahead: a call for each costs more than
    all else that makes one. Not to be shared by processes that fork from each other.
    """

    def __init__(self) -> None:
        """Nothing was fetched yet."""
        super().__init__()
        self._ahead = b""
        self._at = 0

    def randbytes(self, n: int) -> bytes:
        """So many random bytes."""
        if n > _SMALL:
            return os.urandom(n)
        end = self._at + n
        if end > len(self._ahead):
            self._ahead, end = os.urandom(_AHEAD), n
        self._at = end
        return self._ahead[end - n : end]
