"""What must hold at the end, by what clients were told and what the database and the disk then hold."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.world import World


def check(world: "World", *, settled: bool) -> None:
    """Tell the world of everything that does not hold."""
    if not settled:
        states = world.database.read("SELECT number, state FROM jobs WHERE finished_at IS NULL")
        world.fail("I1", f"jobs do not end although nothing goes wrong any more: {states}")
