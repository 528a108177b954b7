"""The http adapter with OpenAPI documents: typed on both sides, and /openapi.json."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from openapi_spec_validator import validate
from support.http_gateway import gateway, planned, upstream

from gateway.problem import ConfigError

SCHEMAS = Path(__file__).parents[1] / "schemas"
BIG = 9007199254740993


async def pets(request: web.Request) -> web.StreamResponse:
    """What the document promises."""
    match request.method, request.path:
        case "GET", "/v1/pets/events":
            return web.Response(text='{"id":1,"name":"a"}\n{"id":2,"name":"b"}\n', content_type="application/x-ndjson")
        case "GET", _:
            return web.Response(
                text=f'[{{"id":{BIG},"name":"x","price":1.10,"new":1}}]', content_type="application/json"
            )
        case "POST", "/v1/pets":
            return web.Response(text=f'{{"id":{BIG},"name":"n"}}', status=201, content_type="application/json")
        case "PUT", "/v1/pets/7/names":
            return web.Response(text="2", content_type="application/vnd.pets+json")
        case _:
            return web.Response(status=204)


def config(target: str, *operations: str, web: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "endpoints": {
            "web": {"protocol": "http", "listen": "127.0.0.1:0", "openapi": "pets.yaml", **(web or {})},
            "up": {"protocol": "http", "target": target + "/v1", "openapi": "pets.yaml"},
        },
        "routes": {
            name: {"from": {"endpoint": "web", "operation": name}, "to": {"endpoint": "up", "operation": name}}
            for name in operations
        },
    }


ALL = ("listPets", "createPet", "updatePet", "setNames", "watchPets", "importPets")


async def test_every_part_of_a_request_crosses() -> None:
    async with upstream(pets) as up, gateway(config(up.url, *ALL), SCHEMAS) as http:
        status, _, found = await http.request(
            "GET",
            f"/pets?limit=3&tag=a&tag=b%26&ids=1,{BIG}&vaccinated=true",
            headers={"x-tenant": "t", "authorization": "secret"},
        )
        assert (status, found) == (200, [{"id": BIG, "name": "x", "price": 1.1}])
        assert (await http.request("POST", "/pets", json={"name": "n", "price": "1.10", "id": 5}))[0] == 201
        assert (await http.request("PUT", "/pets/7", json={"name": "q"}))[0] == 204
        assert (await http.request("PUT", "/pets/7"))[0] == 204
        assert (await http.request("PUT", "/pets/7/names", json=["a", "b"]))[2] == 2
    sent = [(request.method, request.raw_path, body) for request, body in zip(up.requests, up.bodies, strict=True)]
    assert sent == [
        ("GET", f"/v1/pets?limit=3&tag=a&tag=b%26&ids=1%2C{BIG}&vaccinated=true", b""),
        ("POST", "/v1/pets", b'{"id":5,"name":"n","price":1.10}'),
        ("PUT", "/v1/pets/7", b'{"name":"q"}'),
        ("PUT", "/v1/pets/7", b""),
        ("PUT", "/v1/pets/7/names", b'["a","b"]'),
    ]
    assert up.requests[0].headers["X-Tenant"] == "t"
    assert "Authorization" not in up.requests[0].headers


async def test_streams_of_a_document() -> None:
    async with upstream(pets) as up, gateway(config(up.url, *ALL), SCHEMAS) as http:
        _, headers, found = await http.request("GET", "/pets/events")
        assert headers["Content-Type"] == "application/json"
        assert found == [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
        status, _, told = await http.request(
            "POST",
            "/pets/events",
            data=b'{"name":"a"}\n{"name":"b"}\n',
            headers={"Content-Type": "application/x-ndjson"},
        )
        assert (status, told) == (200, {})
        assert up.bodies[-1] == b'{"name":"a"}\n{"name":"b"}\n'
        status, _, told = await http.request("POST", "/pets/events", json=[{"nam": "a"}])
        assert (status, told["detail"]) == (400, "unknown field at $.nam")


@pytest.mark.parametrize(
    ("method", "path", "body", "detail", "place"),
    [
        ("GET", "/pets", None, "missing required parameter", "header X-Tenant"),
        ("GET", "/pets?limit=x", None, "'x' is not a whole number", "?limit"),
        ("GET", "/pets?limit=1&limit=2", None, "given more than once", "?limit"),
        ("GET", "/pets?ids=1,x", None, "'x' is not a whole number", "?ids[1]"),
        ("GET", "/pets?vaccinated=yes", None, "true or false is expected", "?vaccinated"),
        ("GET", "/pets?color=red", None, "unknown parameter", "?color"),
        ("PUT", "/pets/1x", None, "'1x' is not a whole number", "{pet-id}"),
        ("PUT", "/pets/1", {"nam": "x"}, "unknown field", "$.nam"),
        ("PUT", "/pets/1", {}, "missing required field", "$.name"),
        ("POST", "/pets", None, "the body is missing", "$"),
        ("POST", "/pets", {"name": "x", "kind": "bird"}, "'bird' is not one of cat, dog", "$.kind"),
        ("POST", "/pets", {"name": "x", "owner": {}}, "missing required field", "$.owner.name"),
        ("PUT", "/pets/7/names", ["a", 1], "a string is expected, not 1", "$[1]"),
    ],
)
async def test_what_the_document_does_not_allow(method: str, path: str, body: Any, detail: str, place: str) -> None:
    async with upstream(pets) as up, gateway(config(up.url, *ALL), SCHEMAS) as http:
        headers = {"X-Tenant": "t"} if "?" in path else {}
        sent = {} if body is None else {"json": body}
        status, _, told = await http.request(method, path, headers=headers, **sent)
        assert (status, told["path"]) == (400, place)
        assert detail in told["detail"]
        assert not up.requests


async def test_unknown_members_are_dropped_where_the_endpoint_says_so() -> None:
    async with upstream(pets) as up, gateway(config(up.url, *ALL, web={"unknown_fields": "drop"}), SCHEMAS) as http:
        assert (await http.request("GET", "/pets?color=red", headers={"X-Tenant": "t"}))[0] == 200
        assert (await http.request("POST", "/pets", json={"name": "x", "color": "red"}))[0] == 201
        assert up.bodies[-1] == b'{"name":"x"}'


async def test_the_own_document_is_served() -> None:
    async with upstream(pets) as up, gateway(config(up.url, "listPets"), SCHEMAS) as http:
        status, headers, document = await http.request("GET", "/openapi.json")
        assert (status, headers["Content-Type"]) == (200, "application/json")
        assert document["info"]["title"] == "Pets" and "servers" not in document
        validate(document)


async def test_an_untyped_caller_takes_the_upstreams_types_and_they_are_served() -> None:
    routes = {
        "endpoints": {
            "web": {"protocol": "http", "listen": "127.0.0.1:0"},
            "up": {"protocol": "http", "target": "http://127.0.0.1:1", "openapi": "pets.yaml"},
        },
        "routes": {
            "place": {
                "from": {"endpoint": "web", "method": "PUT", "path": "/p/{pet-id}"},
                "to": {"endpoint": "up", "operation": "updatePet"},
            },
            "list": {
                "from": {"endpoint": "web", "method": "GET", "path": "/p"},
                "to": {"endpoint": "up", "operation": "listPets"},
                "request": {"map": {"X-Tenant": {"const": "t"}}},
            },
            "watch": {
                "from": {"endpoint": "web", "method": "GET", "path": "/w"},
                "to": {"endpoint": "up", "operation": "watchPets"},
            },
        },
    }
    async with gateway(routes, SCHEMAS) as http:
        document = (await http.request("GET", "/openapi.json"))[2]
        status, _, told = await http.request("PUT", "/p/x", json={})
        assert (status, told["path"]) == (400, "$.pet-id")
    validate(document)
    paths = document["paths"]
    assert paths["/p/{pet-id}"]["put"]["parameters"] == [
        {"name": "pet-id", "in": "path", "required": True, "schema": {"type": "string", "format": "int64"}}
    ]
    assert [parameter["name"] for parameter in paths["/p"]["get"]["parameters"]] == [
        "limit", "tag", "ids", "vaccinated"
    ]  # fmt: skip
    assert "text/event-stream" in paths["/w"]["get"]["responses"]["200"]["content"]
    pet = document["components"]["schemas"]["Pet"]["properties"]
    assert pet["price"] == {"type": "string", "format": "decimal"}, "as this endpoint writes it"


async def test_the_document_gives_way_to_a_route_and_can_be_left_out() -> None:
    def routes(**endpoint: Any) -> dict[str, Any]:
        return {
            "endpoints": {
                "web": {"protocol": "http", "listen": "127.0.0.1:0", **endpoint},
                "up": {"protocol": "http", "target": up.url},
            },
            "routes": {
                "own": {
                    "from": {"endpoint": "web", "method": "GET", "path": path},
                    "to": {"endpoint": "up", "method": "GET", "path": "/v1/pets"},
                }
            },
        }

    async with upstream(pets) as up:
        path = "/openapi.json"
        async with gateway(routes()) as http:
            assert isinstance((await http.request("GET", "/openapi.json"))[2], list)
        path = "/x"
        async with gateway(routes(serve_openapi=False)) as http:
            assert (await http.request("GET", "/openapi.json"))[0] == 404


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"routes": {"r": {"from": {"endpoint": "web", "operation": "listPet"}}}}, "did you mean listPets?"),
        ({"routes": {"r": {"from": {"endpoint": "web", "path": "/dogs"}}}}, "the document has no POST /dogs"),
        ({"routes": {"r": {"from": {"endpoint": "web"}}}}, "give path (and method), or operation"),
        (
            {"routes": {"r": {"from": {"endpoint": "web", "operation": "listPets", "path": "/x"}}}},
            "give path (and method), or operation",
        ),
        (
            {"routes": {"r": {"from": {"endpoint": "web", "operation": "listPets", "method": "GET"}}}},
            "the operation has a method of its own",
        ),
        ({"routes": {"r": {"to": {"endpoint": "plain", "operation": "x"}}}}, "the endpoint has no OpenAPI document"),
        ({"endpoints": {"web": {"openapi": "none.yaml"}}}, "none.yaml can't be read"),
        ({"endpoints": {"web": {"openapi": "everything.proto"}}}, "everything.proto can't be parsed"),
        ({"endpoints": {"web": {"openapi": "people.yaml"}}}, "this is no `openapi`"),
    ],
)
async def test_problems_are_reported_with_their_line(change: dict[str, Any], problem: str) -> None:
    whole = config("http://127.0.0.1:1", "listPets")
    whole["endpoints"]["plain"] = {"protocol": "http", "target": "http://127.0.0.1:1"}
    whole["routes"]["r"] = whole["routes"].pop("listPets")
    for section, entries in change.items():
        for name, entry in entries.items():
            for key, value in entry.items():
                whole[section][name][key] = value
    with pytest.raises(ConfigError) as refused:
        await planned(whole, SCHEMAS)
    told = str(refused.value)
    assert problem in told
    assert told.startswith("routes.yaml:")


async def test_a_reply_that_is_not_what_the_document_says_is_the_upstreams_fault() -> None:
    async def lie(request: web.Request) -> web.StreamResponse:
        return web.json_response({"id": 1})

    async with upstream(lie) as up, gateway(config(up.url, "createPet"), SCHEMAS) as http:
        status, _, told = await http.request("POST", "/pets", json={"name": "x"})
    assert (status, told["code"], told["path"]) == (500, "INTERNAL", "$.name")
    assert "the upstream's reply can't be translated" in told["detail"]


async def test_the_forms_of_the_document_win_over_the_endpoints(tmp_path: Path) -> None:
    def document(text: str) -> str:
        properties = {
            "big": {"type": text, "format": "int64"},
            "price": {"type": "number" if text == "integer" else text, "format": "decimal"},
            "took": {"type": "string", "format": "duration" if text == "integer" else "google-duration"},
        }
        schema = {"type": "object", "properties": properties}
        body = {"content": {"application/json": {"schema": schema}}}
        operation = {
            "operationId": "op",
            "requestBody": {**body, "required": True},
            "responses": {"200": {"description": "ok", **body}},
        }
        return json.dumps(
            {"openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": {"/x": {"post": operation}}}
        )

    (tmp_path / "texts.json").write_text(document("string"))
    (tmp_path / "numbers.json").write_text(document("integer"))

    async def reply(request: web.Request) -> web.StreamResponse:
        return web.Response(body=await request.read(), content_type="application/json")

    async with upstream(reply) as up:
        routes = config(up.url, "op", web={"openapi": "texts.json"})
        routes["endpoints"]["up"]["openapi"] = "numbers.json"
        async with gateway(routes, tmp_path) as http:
            sent = {"big": "9007199254740993", "price": "1.10", "took": "1.500s"}
            status, _, told = await http.request("POST", "/x", json=sent)
        assert (status, told) == (200, sent)
        assert up.bodies == [b'{"big":9007199254740993,"price":1.10,"took":"PT1.5S"}']
