"""What this supervisor can be asked, and what our key may ask of it. Pure."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from millrace.wire.v1.supervise import CallerView

_PROCESS = "/v1/processes/{name}"
ROUTES: Mapping[str, str] = {
    **{verb: f"POST {_PROCESS}/{verb}" for verb in ("start", "stop", "restart", "scale", "signal")},
    **{verb: f"POST {_PROCESS}/schedule/{verb}" for verb in ("trigger", "pause", "resume")},
    "add": "POST /v1/processes",
    "edit": f"PUT {_PROCESS}",
    "delete": f"DELETE {_PROCESS}",
    "save": "POST /v1/config/save",
    "reload": "POST /v1/reload",
    "shutdown": "POST /v1/shutdown",
    "schedule": f"GET {_PROCESS}/schedule",
    "runs": "GET /v1/runs",
    "resources": "GET /v1/resources",
    "plan": "GET /v1/plan",
    "hooks": "GET /v1/hooks",
    "audit": "GET /v1/audit",
    "config": "GET /v1/config",
}
"""The route behind each thing that one may want to do here."""


CHANGES = frozenset({"add", "edit", "delete", "save"})
"""What also needs the plan's leave."""


class Powers(Struct, frozen=True):
    """`offered` is what there is, `granted` what is also open to us."""

    offered: frozenset[str] = frozenset()
    granted: frozenset[str] = frozenset()

    @property
    def refused(self) -> list[str]:
        """What there is and our key does not open, in words."""
        return [verb for verb in ROUTES if verb in self.offered - self.granted and not ROUTES[verb].startswith("GET")]

    def without(self, verbs: frozenset[str]) -> "Powers":
        """The same, where these would be refused."""
        return Powers(self.offered, self.granted - verbs)


def powers(document: Mapping[str, Any], caller: CallerView | None) -> Powers:
    """From the OpenAPI description, whose `x-access` says which grant a route asks for.

    Where nobody says who we are (None), all is taken for granted: a refusal will tell.
    """
    access: dict[str, str] = {}
    for path, methods in document.get("paths", {}).items():
        for method, operation in methods.items():
            if isinstance(operation, dict):
                access[f"{method.upper()} {path}"] = str(operation.get("x-access", ""))
    offered = frozenset(verb for verb, route in ROUTES.items() if route in access)
    if caller is None:
        return Powers(offered, offered)
    return Powers(offered, frozenset(verb for verb in offered if access[ROUTES[verb]] in {*caller.grants, "open"}))
