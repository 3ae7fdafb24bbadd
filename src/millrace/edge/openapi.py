"""The OpenAPI 3.1 description of a server, made from its table of routes and the wire's shapes."""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from millrace.edge.route import Access, Body, Param, Route
from millrace.wire.v1.problems import CONTENT_TYPE, Problem

EVERYWHERE = (400, 401, 403, 421, 429, 500, 503)
_OF_JSON = (Body.JSON, Body.OPTIONAL_JSON)
_REF = "#/components/schemas/{name}"


def describe(
    table: Sequence[Route[Any]],
    *,
    title: str,
    version: str,
    about: str,
    examples: Mapping[type, object],
) -> dict[str, Any]:
    """The document, as plain data; `examples` has one for each shape that is worth one."""
    routes = [route for route in table if not route.alias]
    shapes = [shape for route in routes for shape in (route.request, route.reply) if shape is not None]
    shapes = [*dict.fromkeys([*shapes, Problem])]
    found, components = msgspec.json.schema_components(shapes, schema_hook=_anything, ref_template=_REF)
    schemas = dict(zip(shapes, found, strict=True))
    for shape, example in examples.items():
        if shape.__name__ in components:
            components[shape.__name__]["examples"] = [example]
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = route.path.replace("*}", "}")
        paths.setdefault(path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": about, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"key": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
    }  # fmt: skip


def written(document: Mapping[str, Any]) -> bytes:
    """A document as it is served and kept in `docs/reference`: sorted nowhere, indented by two."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def _anything(shape: type) -> dict[str, Any]:
    """The schema of a value inside a plain document."""
    if shape is object:
        return {"description": "Any JSON value."}
    raise NotImplementedError


def _operation(route: Route[Any], schemas: Mapping[object, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": operation_id(route),
        "summary": route.summary,
        "tags": [route.path.split("/")[2] if route.path.startswith("/v1/") else "system"],
        "parameters": [*_path_parameters(route.path), *(_parameter(one) for one in route.params)],
        "responses": _responses(route, schemas),
        "x-access": route.access.value,
    }
    if route.access is Access.OPEN:
        operation["security"] = []
    if route.body in _OF_JSON:
        operation["requestBody"] = {
            "required": route.body is Body.JSON,
            "content": {"application/json": {"schema": schemas[route.request]}},
        }
    elif route.body is Body.RAW:
        media = "application/offset+octet-stream" if route.method == "PATCH" else "application/octet-stream"
        operation["requestBody"] = {"required": True, "content": {media: {}}}
    return operation


def operation_id(route: Route[Any]) -> str:
    """A name for generated clients: the handler's module and name."""
    module = route.handler.__module__.rpartition(".")[2]
    return f"{module}_{route.handler.__name__}"


def _path_parameters(path: str) -> Sequence[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\*?\}", path)
    ]


def _parameter(one: Param) -> dict[str, Any]:
    schema: Mapping[str, Any] = dict(one.schema or {"type": "string"})
    if one.repeatable:
        schema = {"type": "array", "items": schema}
    found: dict[str, Any] = {
        "name": one.name,
        "in": one.where,
        "description": one.text,
        "required": one.required,
        "schema": schema,
    }
    if one.repeatable:
        found |= {"style": "form", "explode": True}
    if one.example is not None:
        found["example"] = [one.example] if one.repeatable else one.example
    return found


def _responses(route: Route[Any], schemas: Mapping[object, Any]) -> dict[str, Any]:
    good: dict[str, Any] = {"description": HTTPStatus(route.status).phrase}
    content = {route.media: {} if route.reply is None else {"schema": schemas[route.reply]}}
    if route.status != 204:
        good["content"] = content
    refusal = {CONTENT_TYPE: {"schema": schemas[Problem]}}
    responses = {str(route.status): good}
    for status in route.also:
        responses[str(status)] = {"description": HTTPStatus(status).phrase, "content": content}
    if any(one.name == "Range" for one in route.params):
        responses["206"] = {"description": HTTPStatus(206).phrase, "content": good["content"]}
    # A name in a path may be one that nothing has, and a body one that is too long.
    named, sized = ((404,) if "{" in route.path else ()), ((413,) if route.body is not Body.NONE else ())
    typed = (415,) if route.body in _OF_JSON else ()
    for status in sorted({*EVERYWHERE, *route.statuses, *named, *sized, *typed}):
        responses[str(status)] = {"description": HTTPStatus(status).phrase, "content": refusal}
    return responses
