"""The statement behind a list of jobs, put together from the named blocks of either database."""

from collections.abc import Mapping

from millrace.domain.states import WITH_FAILURE
from millrace.store.rows import to_text
from millrace.store.store import JobFilter


def page_statement(queries: Mapping[str, str], mark: str, only: JobFilter) -> tuple[str, list[object]]:
    """The statement for a page of jobs' numbers, newest first, and the values of its further parameters.

    The first parameter is the number to stay below, the second the limit. A condition that is not asked for is not in
    the statement, so that the database sees which index serves the rest.

    Args:
        queries: the named blocks.
        mark: what stands before the number of a parameter: ``?`` or ``$``.
        only: which jobs to list.
    """
    name, values = "jobs_page", list[object]()
    states = only.states or (WITH_FAILURE if only.failures else ())
    if states:
        name, values = "jobs_page_in_states", [to_text(sorted(state.value for state in states))]
    wanted: tuple[tuple[str, object], ...] = (
        ("only_queue", only.queue and only.queue.value),
        ("only_priority", only.priority and only.priority.value),
        ("only_tenant", only.tenant),
        ("only_profile", only.profile),
        ("only_labels", to_text(only.labels) if only.labels else None),
        ("only_failures", to_text(sorted(one.value for one in only.failures)) if only.failures else None),
    )
    conditions = []
    for block, value in wanted:
        if value is not None:
            values.append(value)
            conditions.append(queries[block].format(value=f"{mark}{len(values) + 2}"))
    if only.alone:
        conditions.append(queries["only_alone"])
    return queries[name].format(conditions=" ".join(conditions)), values
