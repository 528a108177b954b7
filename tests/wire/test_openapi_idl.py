"""OpenAPI into operations, and the document that is derived; openapi-spec-validator is the judge of it."""

from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate
from test_json_schema_idl import assert_same
from test_protobuf_codec import EVERYTHING

from gateway.pattern import Pattern
from gateway.schema.idl.json.document import JsonDocumentError
from gateway.schema.idl.json.hint import JsonHint
from gateway.schema.idl.json.openapi import HttpBinding, OpenApi, OpenApiError
from gateway.schema.idl.json.openapi_writer import Served, openapi
from gateway.schema.types import (
    BOOL,
    INT32,
    INT64,
    STRING,
    Choice,
    Enumeration,
    Field,
    List,
    Operation,
    Record,
)

PETS = OpenApi.load(Path(__file__).parents[1] / "schemas" / "pets.yaml")


def names(operation: Operation) -> dict[str, tuple[Any, bool]]:
    assert isinstance(operation.request, Record)
    return {field.name: (field.type, field.required) for field in operation.request.fields}


def test_parameters_become_fields() -> None:
    operation = PETS.operation("listPets")
    assert names(operation) == {
        "limit": (INT32, False),
        "tag": (List(STRING), False),
        "ids": (List(INT64), False),
        "vaccinated": (BOOL, False),
        "X-Tenant": (STRING, True),
    }
    assert operation.doc == "All pets."
    binding: HttpBinding = operation.wire
    assert (binding.method, binding.path, binding.body, binding.status) == ("GET", "/pets", None, 200)
    assert [(p.field.name, p.location, p.separator) for p in binding.parameters] == [
        ("limit", "query", ""), ("tag", "query", ""), ("ids", "query", ","), ("vaccinated", "query", ""),
        ("X-Tenant", "header", ""),
    ]  # fmt: skip
    assert binding.parameters[0].field.doc == "At most so many."
    assert isinstance(operation.reply, List) and str(operation.reply.item) == "Pet"


def test_a_body_alone_is_the_request() -> None:
    operation = PETS.operation("createPet")
    assert operation.request is operation.wire.body
    assert operation.wire.status == 201
    assert names(operation)["id"] == (INT64, False), "what is readOnly need not be sent"
    assert isinstance(operation.reply, Record)
    assert operation.reply.fields[0].required


def test_body_and_parameters_are_one_record() -> None:
    operation = PETS.operation("updatePet")
    found = names(operation)
    assert found["pet-id"] == (INT64, True)
    assert found["name"] == (STRING, False), "the body may be left out"
    assert (operation.wire.status, operation.wire.body_required) == (204, False)
    assert isinstance(operation.reply, Record) and not operation.reply.fields
    whole = PETS.operation("setNames")
    assert names(whole) == {"pet-id": (STRING, True), "body": (List(STRING), True)}
    assert whole.wire.whole and whole.reply == INT32


def test_streams() -> None:
    down, up = PETS.operation("watchPets"), PETS.operation("importPets")
    assert (down.pattern, up.pattern) == (Pattern.SERVER_STREAM, Pattern.CLIENT_STREAM)
    assert str(down.reply) == "Pet" and str(up.request) == "Pet"


def test_operations_are_found_by_method_and_path() -> None:
    assert PETS.find("PUT", "/pets/{id}") is PETS.operation("updatePet")
    assert PETS.find("DELETE", "/pets/{x}").name == "DELETE /pets/{pet-id}"
    with pytest.raises(OpenApiError, match="no PATCH /pets") as refused:
        PETS.find("PATCH", "/pets")
    assert "did you mean" in refused.value.hint
    with pytest.raises(OpenApiError, match="no operation listPet") as refused:
        PETS.operation("listPet")
    assert refused.value.hint == "did you mean listPets?"


OK = {"200": {"description": "fine"}}


def document(operation: Any, version: str = "3.1.0", **components: Any) -> dict[str, Any]:
    return {
        "openapi": version,
        "info": {"title": "t", "version": "1"},
        "paths": {"/x/{id}": {"post": {"operationId": "op", "responses": OK, **operation}}},
        "components": components,
    }


ID = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}


def body(schema: Any, media_type: str = "application/json") -> dict[str, Any]:
    return {"content": {media_type: {"schema": schema}}}


@pytest.mark.parametrize(
    ("operation", "message", "pointer"),
    [
        (
            {"parameters": [ID], "requestBody": body({"properties": {"id": {}}})},
            "id is the name of two parameters, or of a parameter and a member of the body",
            "#/paths/~1x~1{id}/post",
        ),
        (
            {"parameters": [ID, {"name": "s", "in": "cookie", "required": True, "schema": {}}]},
            "cookies never cross",
            "#/paths/~1x~1{id}/post/parameters/1",
        ),
        (
            {"parameters": [ID, {"name": "f", "in": "query", "style": "deepObject", "schema": {"type": "object"}}]},
            "style deepObject is not read",
            "#/paths/~1x~1{id}/post/parameters/1",
        ),
        (
            {"parameters": [ID, {"name": "f", "in": "query", "content": {"application/json": {}}}]},
            "a parameter with content has no form here",
            "#/paths/~1x~1{id}/post/parameters/1",
        ),
        (
            {"parameters": [ID, {"name": "f", "in": "query", "schema": {"type": "object"}}]},
            "has no form as a parameter's text",
            "#/paths/~1x~1{id}/post/parameters/1/schema",
        ),
        (
            {"parameters": [ID], "requestBody": body({}, "application/pdf")},
            "the request's body is application/pdf; JSON, application/x-www-form-urlencoded, multipart/form-data, ",
            "#/paths/~1x~1{id}/post/requestBody/content",
        ),
        (
            {"parameters": [ID], "responses": {"200": {"description": "", **body({}, "text/plain")}}},
            "the reply's body is text/plain; JSON, application/xml, text/xml are read",
            "#/paths/~1x~1{id}/post/responses/200/content",
        ),
        (
            {"parameters": [ID], "requestBody": {"content": {"application/json": {}}}},
            "the request's body has no schema",
            "#/paths/~1x~1{id}/post/requestBody/content/application~1json",
        ),
        (
            {"parameters": [ID], "requestBody": body({"properties": {"a": {"$ref": "#/components/schemas/Cat"}}})},
            "not has no counterpart",
            "#/components/schemas/Cat/not",
        ),
    ],
)
def test_what_has_no_form_is_refused_when_it_is_asked_for(operation: Any, message: str, pointer: str) -> None:
    api = OpenApi(document(operation, schemas={"Cat": {"not": {"type": "string"}}}))
    with pytest.raises(JsonDocumentError, match=message) as refused:
        api.operation("op")
    assert str(refused.value).startswith(f"{pointer}: ")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"swagger": "2.0"}, "this is swagger: 2.0"),
        ({"openapi": "4.0.0"}, "this is openapi: 4.0.0"),
        ({}, "this is no `openapi`"),
        ({"openapi": "3.0.0", "paths": {}}, "not valid OpenAPI: 'info' is a required property"),
        (document({"parameters": []}), "Path parameter 'id'"),
        (document({"parameters": [ID], "responses": []}), "not valid OpenAPI"),
        (document({"parameters": [ID], "requestBody": {"$ref": "#/components/none"}}), "nothing here|not valid"),
    ],
)
def test_what_is_no_openapi_is_refused_at_load(given: dict[str, Any], message: str) -> None:
    with pytest.raises(JsonDocumentError, match=message):
        OpenApi(given).operation("op")


def test_the_served_document_has_no_references_to_files() -> None:
    assert PETS.document["x-files"]["people.yaml"]["Owner"]["allOf"][0] == {"$ref": "#/x-files/people.yaml/Named"}
    validate(PETS.document)


# -- the derived document

LINE = Record("shop.Line", [Field("sku", STRING, required=True), Field("quantity", INT32, default=0)])
ORDER = Record(
    "shop.Order",
    [
        Field("order_id", STRING, required=True, json_name="orderId", doc="The key."),
        Field("lines", List(LINE)),
        Field("state", Enumeration("shop.State", {"OPEN": 0, "PAID": 1})),
        Field("total", INT64),
        Field("card", STRING, choice="how"),
        Field("iban", STRING, choice="how"),
        Field("first", LINE),
    ],
    choices=[Choice("how")],
)


def derived(*served: Served) -> dict[str, Any]:
    written = openapi("web", "1", served, JsonHint(), declared=False)
    validate(written)
    return written


def test_a_derived_document_says_what_its_routes_take() -> None:
    written = derived(
        Served(
            name="place",
            method="POST",
            path="/orders/{order_id}",
            captures=("order_id",),
            request=ORDER,
            reply=ORDER,
            params=("dry_run",),
        ),
        Served(
            name="find",
            method="GET",
            path="/orders/{order_id=shelves/*}",
            captures=("order_id",),
            request=ORDER,
            reply=ORDER,
            query=True,
            many_replies=True,
        ),
        Served(
            name="load",
            method="POST",
            path="/import",
            captures=(),
            request=LINE,
            reply=None,
            many_requests=True,
            status=204,
        ),
        Served(name="any", method="PUT", path="/any", captures=(), request=None, reply=None, status=202),
    )
    place = written["paths"]["/orders/{order_id}"]["post"]
    assert place["parameters"] == [
        {"name": "order_id", "in": "path", "required": True, "description": "The key.", "schema": {"type": "string"}},
        {"name": "dry_run", "in": "query", "schema": {"type": "string"}},
    ]
    reference = place["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    taken = written["components"]["schemas"][reference.rpartition("/")[2]]
    assert "orderId" not in taken["properties"] and "lines" in taken["properties"] and "oneOf" in taken
    assert place["responses"]["default"] == {"$ref": "#/components/responses/Problem"}
    find = written["paths"]["/orders/{order_id}"]["get"]
    assert [p["name"] for p in find["parameters"]] == [
        "order_id", "state", "total", "card", "iban", "first.sku", "first.quantity"
    ]  # fmt: skip
    assert not any(p.get("required") for p in find["parameters"][1:]), "a member of what is optional is optional"
    assert set(find["responses"]["200"]["content"]) == {
        "application/json", "application/x-ndjson", "text/event-stream"
    }  # fmt: skip
    load = written["paths"]["/import"]["post"]
    assert set(load["requestBody"]["content"]) == {"application/json", "application/x-ndjson"}
    assert "content" not in load["responses"]["204"]
    assert written["paths"]["/any"]["put"]["requestBody"]["content"]["application/json"]["schema"] == {}


def test_a_derived_document_is_read_as_what_it_was_derived_from() -> None:
    written = derived(
        Served(name="unary", method="POST", path="/u", captures=(), request=EVERYTHING, reply=EVERYTHING),
        Served(
            name="down",
            method="GET",
            path="/d/{a_string}",
            captures=("a_string",),
            request=Record("Q", [Field("a_string", STRING, required=True), Field("ints", List(INT32))]),
            reply=EVERYTHING,
            query=True,
            many_replies=True,
        ),
        Served(
            name="up", method="POST", path="/up", captures=(), request=EVERYTHING, reply=EVERYTHING, many_requests=True
        ),
    )
    api = OpenApi(written)
    unary, down, up = (api.operation(name) for name in ("unary", "down", "up"))
    assert (down.pattern, up.pattern) == (Pattern.SERVER_STREAM, Pattern.CLIENT_STREAM)
    for operation in (unary, up):
        assert operation.request is not None and operation.reply is not None
        assert isinstance(operation.wire.body, Record)
        assert_same(EVERYTHING, operation.wire.body)
        assert_same(EVERYTHING, operation.reply)
    assert names(down) == {"a_string": (STRING, True), "ints": (List(INT32), False)}
