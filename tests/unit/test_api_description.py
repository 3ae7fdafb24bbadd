"""The description of the API says what the table and the wire's shapes say, and is the one that is in the docs."""

import json
from pathlib import Path

import msgspec

import millrace
from millrace.api import openapi
from millrace.api.examples import EXAMPLES
from millrace.api.table import TABLE
from millrace.domain.states import State

KEPT = Path(millrace.__file__).parent.parent.parent / "docs" / "reference" / "openapi.json"


def test_the_docs_hold_the_description_as_it_is_served() -> None:
    assert KEPT.read_bytes() == openapi.document(millrace.__version__), "run `python -m millrace.api.openapi FILE`"


def test_every_route_but_the_aliases_is_described_once() -> None:
    document = openapi.describe("1")
    routes = [route for route in TABLE if not route.alias]
    described = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert described == {(route.method.lower(), route.path.replace("*}", "}")) for route in routes}
    identities = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(set(identities)) == len(identities) == len(routes)


def test_every_reference_leads_somewhere() -> None:
    document = openapi.describe("1")
    text = json.dumps(document)
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in document["components"]["schemas"]


def test_the_states_are_those_of_the_one_table() -> None:
    assert openapi.describe("1")["components"]["schemas"]["State"]["enum"] == sorted(State)


def test_every_example_fits_its_shape() -> None:
    for shape, example in EXAMPLES.items():
        msgspec.convert(example, shape)
        assert shape.__name__ in openapi.describe("1")["components"]["schemas"]
