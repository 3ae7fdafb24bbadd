"""Turn the store's hints into wake-ups for the workers and readers that wait in this master."""

from millrace.scheduler.farm import Farm
from millrace.scheduler.offers import Offers
from millrace.store.store import Hint, Listener


def listener(farm: Farm, offers: Offers) -> Listener:
    """What to hand to :meth:`Store.listen`."""

    def heed(hint: Hint, class_id: int | None) -> None:
        if hint is Hint.CHANGED:
            farm.changes.ring()
        elif class_id is not None and offers.knows(class_id):
            farm.waiting.wake(class_id)
        else:
            # A class that this master has not read yet: everybody works out anew what they can run.
            offers.forget()
            farm.waiting.wake_all()

    return heed


async def wake_for_queued(farm: Farm, offers: Offers) -> None:
    """Wake somebody for each class with queued tasks: the net under lost hints, one query for the whole master."""
    if not len(farm.waiting):
        return
    for class_id in await farm.store.queued_classes():
        if offers.knows(class_id):
            farm.waiting.wake(class_id)
        else:
            offers.forget()
            farm.waiting.wake_all()
