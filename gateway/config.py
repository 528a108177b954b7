"""routes.yaml as typed configuration. Sections of protocols are the adapters' own models."""

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from gateway import registry
from gateway.bridge import Replies, Requests
from gateway.document import Document
from gateway.duration import Duration
from gateway.port import Address, Endpoint, OnBackbone, Side
from gateway.problem import ConfigError, Problem
from gateway.rules import Rule
from gateway.section import Section
from gateway.status import Code


class Admin(Section):
    """The operator's HTTP endpoint: /healthz /readyz /metrics /routes."""

    enabled: bool = Field(default=True, description="Whether there is an admin endpoint.")
    listen: str = Field(default="127.0.0.1:9901", description="host:port; keep it off public networks.")


class Jobs(Section):
    """Where routes with `job:` keep their jobs, and how many. What goes beyond is refused with RESOURCE_EXHAUSTED."""

    file: str = Field(min_length=1, description="The SQLite file; created where it is not there. One process owns it.")
    max_running: int = Field(default=1000, ge=1, description="Most jobs that run at once.")
    max_kept: int = Field(default=100_000, ge=1, description="Most jobs in the file, running and ended.")
    max_bytes: int = Field(
        default=256 * 1024 * 1024,
        ge=1024 * 1024,
        description="Largest size of the file, in bytes. A quarter of it is for outcomes: requests don't fill that. "
        "Requests of running jobs are in memory, too.",
    )


class GatewaySection(Section):
    """What concerns the whole process."""

    admin: Admin = Field(default=Admin(), description="The admin endpoint.")
    access_log: bool = Field(default=True, description="One JSON line per call on standard output.")
    deadline: Duration = Field(
        default=30.0, description="How long a call may take where its route says nothing; not of streams."
    )
    drain: Duration = Field(
        default=25.0,
        description="How long calls in flight may take to finish at shutdown. Streams that don't end by themselves are "
        "ended at once, all else with UNAVAILABLE in the last second of that time.",
    )
    jobs: Jobs | None = Field(default=None, description="Where jobs are kept. Routes with `job:` need it.")


class Translate(Section):
    """The translation one way."""

    map: Mapping[str, Rule] | None = Field(
        default=None, description="Target field <- source. Fields that it leaves out are filled by name."
    )
    losses: tuple[str, ...] = Field(
        default=(), description="Losses that are meant, by the path that `check` prints; it then passes over them."
    )


class Job(Section):
    """Answer at once with a job's id, call the upstream meanwhile, and tell later how it stands."""

    status: Mapping[str, Any] = Field(
        description="The inbound endpoint and address where callers ask how their job stands, of which a parameter or "
        "a field is the id: `job`, or what request.map fills it from."
    )
    keep: Duration = Field(default=3600.0, gt=0, description="How long a job can be asked for after its end.")
    request: Translate = Field(default=Translate(), description="From the question for the status to {job}.")
    reply: Translate = Field(
        default=Translate(), description="From {job, state, reply, failure} to the answer that tells the status."
    )


class RouteSection(Section):
    """From one endpoint's operation to another's."""

    source: Mapping[str, Any] = Field(alias="from", description="The inbound endpoint and address.")
    target: Mapping[str, Any] = Field(alias="to", description="The outbound endpoint and address.")
    deadline: Duration | None = Field(
        default=None,
        description="How long a call may take, or a stream last; of a job, how long it may run. Without one a stream "
        "lasts as long as its caller and the upstream like.",
    )
    silence: Duration | None = Field(
        default=None,
        gt=0,
        description="How long the upstream of a stream may be silent, its first message included, before the stream "
        "fails with DEADLINE_EXCEEDED. Heartbeats are no messages; time in which the caller takes nothing, or has yet "
        "to end an upload, does not count. Without one it may be silent for ever.",
    )
    job: Job | None = Field(
        default=None,
        description="Answer with a job's id at once, and with its outcome later. `reply` then translates "
        "{job, status}: the id, and the link to the status.",
    )
    request: Translate = Field(default=Translate(), description="Translation of requests.")
    reply: Translate = Field(default=Translate(), description="Translation of replies.")
    requests: Requests | None = Field(
        default=None, description="How many requests become one, where the patterns differ."
    )
    replies: Replies | None = Field(default=None, description="How many replies become one, where the patterns differ.")
    errors: Mapping[str, Annotated[Code, BeforeValidator(lambda name: _code(name))]] = Field(
        default_factory=dict,
        description="Failure name or status code of the upstream -> status code told to the caller.",
        json_schema_extra={
            "additionalProperties": {"enum": [code.name for code in Code if code]},
        },
    )


def _code(name: Any) -> Any:
    if isinstance(name, str) and name in Code.__members__ and name != "OK":
        return Code[name]
    raise ValueError(f"{name!r} is not one of {', '.join(code.name for code in Code if code)}")


@dataclass(frozen=True, slots=True)
class RouteConfig:
    """A route whose endpoints and addresses are typed. status: where it has jobs."""

    name: str
    source_endpoint: str
    source: Address
    target_endpoint: str
    target: Address
    section: RouteSection
    status_endpoint: str = ""
    status: Address | None = None


@dataclass(frozen=True, slots=True)
class EndpointConfig:
    name: str
    protocol: str
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class Config:
    """What of a document is valid, and what is wrong with the rest: compiling reports both at once."""

    document: Document
    gateway: GatewaySection
    endpoints: Mapping[str, EndpointConfig]
    routes: Mapping[str, RouteConfig]
    problems: tuple[Problem, ...] = ()


def read(document: Document) -> Config:
    """Validate everything; see Config.problems. Raises ConfigError where nothing can be read at all."""
    return _Reader(document).read()


class _Reader:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._problems: list[Problem] = []

    def read(self) -> Config:
        data = self._document.data
        if not isinstance(data, dict):
            raise ConfigError([self._document.problem((), "a mapping with endpoints: and routes: is expected")])
        for key in data:
            if key not in ("gateway", "endpoints", "routes"):
                self._report((key,), "unknown section", _near(key, ("gateway", "endpoints", "routes")))
        gateway = self._model(GatewaySection, data.get("gateway") or {}, ("gateway",)) or GatewaySection()
        declared = self._sections(data, "endpoints")
        endpoints = {}
        for name, section in declared.items():
            endpoint = self._endpoint(name, section)
            if endpoint is not None:
                endpoints[name] = endpoint
        for endpoint in endpoints.values():
            self._backbone(endpoint, endpoints, declared)
        routes = {}
        for name, section in self._sections(data, "routes").items():
            route = self._route(name, section, endpoints, declared)
            if route is not None:
                routes[name] = route
        return Config(self._document, gateway, endpoints, routes, tuple(self._problems))

    def _report(self, keys: tuple[str | int, ...], message: str, hint: str = "") -> None:
        problem = self._document.problem(keys, message, hint)
        if problem not in self._problems:
            self._problems.append(problem)

    def _sections(self, data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        section = data.get(key)
        if section is None:
            if key not in data:
                self._report((), f"{key}: is missing")
            return {}
        if not isinstance(section, dict):
            self._report((key,), "a mapping by name is expected")
            return {}
        return section

    def _endpoint(self, name: str, section: Any) -> EndpointConfig | None:
        keys = ("endpoints", name)
        if not isinstance(section, dict) or "protocol" not in section:
            self._report(keys, "protocol: is missing", f"one of {', '.join(registry.protocols())}")
            return None
        protocol = section["protocol"]
        try:
            adapter = registry.adapter(str(protocol))
        except KeyError:
            known = registry.protocols()
            self._report((*keys, "protocol"), f"there is no protocol {protocol}", _near(str(protocol), known))
            return None
        rest = {key: value for key, value in section.items() if key != "protocol"}
        endpoint = self._model(adapter.endpoint, rest, keys)
        return None if endpoint is None else EndpointConfig(name, adapter.protocol, endpoint)

    def _backbone(
        self, config: EndpointConfig, endpoints: Mapping[str, EndpointConfig], declared: Mapping[str, Any]
    ) -> None:
        endpoint = config.endpoint
        if not isinstance(endpoint, OnBackbone) or not endpoint.backbone:
            return
        keys = ("endpoints", config.name, "backbone")
        bearer = endpoints.get(endpoint.backbone)
        if bearer is None:
            if endpoint.backbone not in declared:  # else its own problem is reported already
                self._report(keys, f"there is no endpoint {endpoint.backbone}", _near(endpoint.backbone, declared))
        elif registry.adapter(bearer.protocol).backbone is None:
            able = [name for name in registry.protocols() if registry.adapter(name).backbone is not None]
            self._report(keys, f"{bearer.protocol} can't be a backbone", f"{', '.join(able)} can")

    def _route(
        self, name: str, section: Any, endpoints: Mapping[str, EndpointConfig], declared: Mapping[str, Any]
    ) -> RouteConfig | None:
        keys = ("routes", name)
        route = self._model(RouteSection, section, keys)
        if route is None:
            return None
        source = self._address(route.source, (*keys, "from"), endpoints, declared, inbound=True)
        target = self._address(route.target, (*keys, "to"), endpoints, declared, inbound=False)
        if route.job is None:
            return None if source is None or target is None else RouteConfig(name, *source, *target, route)
        status = self._address(route.job.status, (*keys, "job", "status"), endpoints, declared, inbound=True)
        if source is None or target is None or status is None:
            return None
        return RouteConfig(name, *source, *target, route, *status)

    def _address(
        self,
        section: Mapping[str, Any],
        keys: tuple[str, ...],
        endpoints: Mapping[str, EndpointConfig],
        declared: Mapping[str, Any],
        *,
        inbound: bool,
    ) -> tuple[str, Address] | None:
        name = section.get("endpoint")
        if not isinstance(name, str):
            self._report(keys, "endpoint: is missing", f"one of {', '.join(declared)}")
            return None
        endpoint = endpoints.get(name)
        if endpoint is None:
            if name not in declared:  # else its own problem is reported already
                self._report((*keys, "endpoint"), f"there is no endpoint {name}", _near(name, declared))
            return None
        adapter = registry.adapter(endpoint.protocol)
        side: Side | None = adapter.inbound if inbound else adapter.outbound
        if side is None:
            direction = "inbound" if inbound else "outbound"
            self._report((*keys, "endpoint"), f"{endpoint.protocol} has no {direction} side")
            return None
        rest = {key: value for key, value in section.items() if key != "endpoint"}
        address = self._model(side.address, rest, keys)
        return None if address is None else (name, address)

    def _model(self, model: type[Any], value: Any, keys: tuple[str, ...]) -> Any:
        if not isinstance(value, dict):
            self._report(keys, "a mapping is expected")
            return None
        try:
            return model.model_validate(value)
        except ValidationError as error:
            for entry in error.errors(include_url=False):
                self._validation(model, value, keys, entry)
            return None

    def _validation(self, model: type[BaseModel], value: Any, keys: tuple[str, ...], entry: Any) -> None:
        location: list[str | int] = []
        inner = value
        for step in entry["loc"]:
            # pydantic names the member of a union on the way; only steps that the document has are shown.
            missing = step == entry["loc"][-1] and entry["type"] in ("missing", "extra_forbidden")
            if (
                missing
                or (isinstance(inner, dict) and step in inner)
                or (isinstance(inner, list) and isinstance(step, int))
            ):
                location.append(step)
                inner = inner[step] if not missing or (isinstance(inner, dict) and step in inner) else None
        message, hint = str(entry["msg"]), ""
        match entry["type"]:
            case "extra_forbidden":
                known = [field.alias or name for name, field in model.model_fields.items()]
                message, hint = "unknown key", _near(str(entry["loc"][-1]), known) if len(entry["loc"]) == 1 else ""
            case "missing":
                message = f"{entry['loc'][-1]}: is missing"
                location = location[:-1]
            case "string_pattern_mismatch" if len(entry["loc"]) == 1:
                message = f"{entry['input']!r} does not fit"
                hint = next(
                    (
                        field.description or ""
                        for name, field in model.model_fields.items()
                        if entry["loc"][0] in (name, field.alias)
                    ),
                    "",
                )
            case "value_error":
                message = message.removeprefix("Value error, ")
            case _:
                given = entry.get("input")
                shown = f", not {given!r}" if isinstance(given, str | int | float | bool) else ""
                message = message[0].lower() + message[1:] + shown
        self._report((*keys, *location), message, hint)


def _near(name: str, known: Any) -> str:
    names = [str(entry) for entry in known]
    close = get_close_matches(name, names, 1)
    return f"did you mean {close[0]}?" if close else f"there is {', '.join(names)}" if names else ""
