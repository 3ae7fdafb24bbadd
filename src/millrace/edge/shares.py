"""How many of a server's places one of its callers may hold. Pure."""

GREED = 3
"""How many times as many as are left to all one may hold: alone, three quarters of them."""


class Shares:
    """Places, and who holds how many. One owner alone may have three quarters of them, each of two three sevenths, and whoever has
    none finds one while there is any (dynamic thresholds: A. K. Choudhury and E. L. Hahne, "Dynamic queue length thresholds for
    shared-memory packet switches", IEEE/ACM Transactions on Networking 6 (2), 1998).
    """

    def __init__(self, most: int) -> None:
        """`most`: places in all."""
        self._left = most
        self._held: dict[str, int] = {}

    def take(self, owner: str) -> bool:
        """Whether the owner may have one more place; then it has."""
        held = self._held.get(owner, 0)
        if held >= GREED * self._left:
            return False
        self._held[owner] = held + 1
        self._left -= 1
        return True

    def give_back(self, owner: str) -> None:
        """It needs one of them no more."""
        self._left += 1
        held = self._held[owner]
        if held > 1:
            self._held[owner] = held - 1
        else:
            del self._held[owner]

    def held(self, owner: str) -> int:
        """How many it has."""
        return self._held.get(owner, 0)
