"""How callers are led to a job's status, as the inbounds word it."""

from pathlib import Path
from typing import Any

import pytest

from adapters.http.config import HttpEndpoint, HttpSource
from adapters.http.inbound import HttpInbound
from gateway import config as configuration
from gateway.compile import compile_plan
from gateway.document import parse
from gateway.net.network import Network
from gateway.observe import Metrics
from gateway.problem import ConfigError

ROUTES = """
gateway: {jobs: {file: jobs.sqlite}}
endpoints:
  web: {protocol: http, listen: "127.0.0.1:8080"}
  other: {protocol: http, listen: "127.0.0.1:8081"}
  shop: {protocol: http, target: "http://127.0.0.1:9000"}
routes:
  quote:
    from: {endpoint: web, path: /quotes}
    to: {endpoint: shop, path: /quotes}
    job: {status: %s}
"""


def link(**address: Any) -> Any:
    inbound = HttpInbound("web", HttpEndpoint(listen="127.0.0.1:0"), Network(Path()))
    return inbound.contract(HttpSource(**{"method": "GET", **address})).link


def test_a_captured_id() -> None:
    assert link(path="/jobs/{job}")({"job": "a/b"}) == "/jobs/a%2Fb"


def test_an_id_in_the_query() -> None:
    assert link(path="/jobs")({"job": "a&b"}) == "/jobs?job=a%26b"


def test_a_capture_that_is_not_given() -> None:
    with pytest.raises(KeyError, match="customer"):
        link(path="/{customer}/{job}")({"job": "a"})


def test_what_is_no_get_has_no_link() -> None:
    assert link(path="/jobs/{job}", method="POST") is None


async def bindings(status: str) -> Any:
    config = configuration.read(parse((ROUTES % status).encode(), "routes.yaml", {}))
    plan = await compile_plan(config, Network(Path()), Metrics(), None)
    return {binding.route: binding for found in plan.bindings.values() for binding in found}


@pytest.mark.parametrize(
    ("status", "name", "fields"),
    [
        ('{endpoint: web, method: GET, path: "/quotes/{job}"}', "status", ["job", "status"]),
        ('{endpoint: other, method: GET, path: "/quotes/{job}"}', "", ["job", "status"]),
        ('{endpoint: web, method: POST, path: "/status"}', "", ["job"]),
    ],
)
async def test_a_reply_links_within_its_endpoint(status: str, name: str, fields: list[str]) -> None:
    submission = (await bindings(status))["quote"]
    assert (submission.accepted, submission.link) == (True, name)
    assert [field.name for field in submission.reply.fields] == fields


async def test_the_id_under_another_name() -> None:
    found = await bindings(
        '{endpoint: web, method: GET, path: "/quotes/{ticket}"}, request: {map: {job: $params.ticket}}'
    )
    assert found["quote"].link == "status"
    assert found["quote/status"].params == {"ticket"}


async def test_a_second_capture_is_refused() -> None:
    with pytest.raises(ConfigError, match="the job's id alone does not lead there: customer"):
        await bindings('{endpoint: web, method: GET, path: "/{customer}/{job}"}')
