"""The files of a preset: the plan, a Dockerfile, a compose file and a Kubernetes manifest."""

from importlib.resources import files
from math import ceil
from typing import Any

import yaml
from msgspec import Struct

from millrace.supervisor.plan_document import plan_from

_GRACE_S = 10
"""What a host waits longer than the plan, so that it never kills what would have ended by itself."""
_ENGINE = """
# Millrace, in a place of its own. Build with --build-arg MILLRACE=... for another version, or the URL of a wheel.
ARG MILLRACE=millrace
RUN python3 -m venv /opt/millrace && /opt/millrace/bin/pip install --no-cache-dir "$MILLRACE"
ENV PATH="/opt/millrace/bin:$PATH"
COPY plan.yaml /etc/millrace/plan.yaml
RUN millrace supervise check /etc/millrace/plan.yaml
EXPOSE {port}
ENTRYPOINT ["millrace", "supervise", "-c", "/etc/millrace/plan.yaml"]
"""


class Preset(Struct, frozen=True, kw_only=True):
    """What containers of a kind need: the port that is served, secrets from outside, folders that are kept."""

    port: int = 8080
    secrets: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()


PRESETS = {
    "generic": Preset(port=8000),
    "laravel": Preset(secrets=("APP_KEY", "DB_PASSWORD"), volumes=("/app/storage/app",)),
    "symfony": Preset(secrets=("APP_SECRET", "DATABASE_URL")),
    "wordpress": Preset(secrets=("WORDPRESS_DB_PASSWORD",), volumes=("/app/wp-content/uploads",)),
    "django": Preset(secrets=("SECRET_KEY", "DATABASE_URL")),
    "rails": Preset(secrets=("SECRET_KEY_BASE", "DATABASE_URL")),
    "node": Preset(),
    "millrace": Preset(secrets=("MILLRACE_API_KEY",), volumes=("/data", "/media")),
}


def scaffold(preset: str, app: str) -> dict[str, str]:
    """The texts of a preset's files by their names; `app` is what the container is called."""
    kind = PRESETS[preset]
    folder = files(__package__) / preset
    plan = (folder / "plan.yaml").read_text(encoding="utf-8")
    patience_s = ceil(plan_from(plan, {}).shutdown_timeout_s) + _GRACE_S
    docker = (folder / "Dockerfile").read_text(encoding="utf-8")
    return {
        "plan.yaml": plan,
        "Dockerfile": "# syntax=docker/dockerfile:1\n" + docker + _ENGINE.replace("{port}", str(kind.port)),
        "compose.yaml": _written(_compose(kind, app, patience_s)),
        "kubernetes.yaml": "---\n".join(_written(one) for one in _kubernetes(kind, app, patience_s)),
    }


def _compose(kind: Preset, app: str, patience_s: int) -> dict[str, Any]:
    service: dict[str, Any] = {
        "build": ".",
        "image": app,
        "ports": [f"127.0.0.1:{kind.port}:{kind.port}"],
        "restart": "unless-stopped",
        "stop_grace_period": f"{patience_s}s",
    }
    if kind.secrets:
        service["environment"] = {name: f"${{{name}:?set {name}}}" for name in kind.secrets}
    if kind.volumes:
        service["volumes"] = [f"{_volume(path)}:{path}" for path in kind.volumes]
    document: dict[str, Any] = {"services": {app: service}}
    if kind.volumes:
        document["volumes"] = {_volume(path): {} for path in kind.volumes}
    return document


def _kubernetes(kind: Preset, app: str, patience_s: int) -> list[dict[str, Any]]:
    labels = {"app.kubernetes.io/name": app}
    container: dict[str, Any] = {
        "name": app,
        "image": f"{app}:latest",
        "ports": [{"name": "http", "containerPort": kind.port}],
        "readinessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 5},
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
        "securityContext": {"allowPrivilegeEscalation": False},
    }
    pod: dict[str, Any] = {"terminationGracePeriodSeconds": patience_s, "containers": [container]}
    claims = []
    if kind.secrets:
        container["envFrom"] = [{"secretRef": {"name": app}}]
    if kind.volumes:
        names = {_volume(path): path for path in kind.volumes}
        container["volumeMounts"] = [{"name": name, "mountPath": path} for name, path in names.items()]
        pod["volumes"] = [{"name": name, "persistentVolumeClaim": {"claimName": f"{app}-{name}"}} for name in names]
        claims = [_claim(f"{app}-{name}", labels) for name in names]
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": app, "labels": labels},
        "spec": {
            "replicas": 1,
            # A volume that one pod holds is given up before the next pod asks for it.
            "strategy": {"type": "Recreate" if kind.volumes else "RollingUpdate"},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": app, "labels": labels},
        "spec": {"selector": labels, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }
    return [*claims, deployment, service]


def _claim(name: str, labels: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "labels": labels},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
    }


def _volume(path: str) -> str:
    return path.rpartition("/")[2]


class _Block(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  PyYAML's signature
        return True


def _written(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Block, sort_keys=False, width=120)
