"""Which nodes a task had better not go to next: asked when it failed or was lost, which is seldom."""

from millrace.domain.elsewhere import avoided
from millrace.domain.needs import satisfies
from millrace.domain.records import NodeState, Outcome, Task
from millrace.scheduler.farm import Farm
from millrace.scheduler.offers import offer_of

_COUNTS = frozenset({Outcome.FAILED, Outcome.LOST})


async def to_avoid(farm: Farm, task: Task) -> tuple[str, ...]:
    """The nodes on which the task failed or was lost, with the one that holds it, as long as another takes work and can run it."""
    if task.node_id is None:
        return ()
    needs = dict(await farm.store.classes(after=task.class_id - 1))[task.class_id]
    nodes = await farm.store.nodes()
    able = {node.id for node in nodes if node.state is NodeState.READY and satisfies(offer_of(node), needs)}
    attempts = await farm.store.attempts(task.job_id)
    failed_on = [one.node_id for one in attempts if one.task_id == task.id and one.outcome in _COUNTS]
    return avoided([*failed_on, task.node_id], able)
