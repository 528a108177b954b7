"""The JSON Schema of routes.yaml, derived from the adapters' own declarations."""

from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateway import registry
from gateway.config import GatewaySection, Job, RouteSection

_VARIABLE: Final = {"type": "string", "pattern": r"\$\{", "description": "Filled in from the environment."}


def routes_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) over all installed adapters."""
    adapters = [registry.adapter(name) for name in registry.protocols()]
    models: list[type[BaseModel]] = [GatewaySection, RouteSection, Job]
    for adapter in adapters:
        models.append(adapter.endpoint)
        models.extend(side.address for side in (adapter.inbound, adapter.outbound) if side is not None)
    keys, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/$defs/{model}", by_alias=True
    )
    defs: dict[str, Any] = definitions["$defs"]

    def ref(model: type[BaseModel]) -> str:
        return str(keys[model, "validation"]["$ref"])

    def named(model: type[BaseModel]) -> dict[str, Any]:
        schema = defs[ref(model).removeprefix("#/$defs/")]
        assert isinstance(schema, dict)  # noqa: S101  narrows for the type checker
        return schema

    endpoints = []
    for adapter in adapters:
        schema = dict(named(adapter.endpoint))
        schema["properties"] = {
            "protocol": {"const": adapter.protocol, "description": adapter.summary},
            **schema.get("properties", {}),
        }
        schema["required"] = ["protocol", *schema.get("required", [])]
        endpoints.append(schema)
    for adapter in adapters:
        defs.pop(ref(adapter.endpoint).removeprefix("#/$defs/"), None)
    sources: list[dict[str, str]] = []
    targets: list[dict[str, str]] = []
    for adapter in adapters:
        for side, found in ((adapter.inbound, sources), (adapter.outbound, targets)):
            if side is not None:
                schema = named(side.address)
                schema["properties"] = {
                    "endpoint": {"type": "string", "description": "The endpoint's name."},
                    **schema.get("properties", {}),
                }
                schema["required"] = ["endpoint", *schema.get("required", [])]
                found.append({"$ref": ref(side.address)})
    route = named(RouteSection)
    route["properties"]["from"] = {"anyOf": sources, "description": "The inbound endpoint and address."}
    route["properties"]["to"] = {"anyOf": targets, "description": "The outbound endpoint and address."}
    status = named(Job)["properties"]["status"]
    named(Job)["properties"]["status"] = {"anyOf": [*sources], "description": status["description"]}
    for schema in (*endpoints, *defs.values()):
        _take_variables(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "routes.yaml",
        "type": "object",
        "additionalProperties": False,
        "required": ["endpoints", "routes"],
        "properties": {
            "gateway": {"$ref": ref(GatewaySection)},
            "endpoints": {"type": "object", "additionalProperties": {"oneOf": endpoints}},
            "routes": {"type": "object", "additionalProperties": {"$ref": ref(RouteSection)}},
        },
        "$defs": defs,
    }


def _take_variables(schema: dict[str, Any]) -> None:
    """${VAR} may stand for any value, also where its own text would not do: a number, a pattern, a choice."""
    for name, option in schema.get("properties", {}).items():
        if "anyOf" in option:
            if not any(arm.get("type") == "string" and "pattern" not in arm for arm in option["anyOf"]):
                option["anyOf"].append(_VARIABLE)
        elif {"pattern", "enum"} & option.keys() or option.get("type") in ("boolean", "integer", "number"):
            outer = {key: option.pop(key) for key in ("title", "description", "default") if key in option}
            schema["properties"][name] = {"anyOf": [option, _VARIABLE], **outer}
