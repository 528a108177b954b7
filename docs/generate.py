"""Writes what is derived from the code: docs/reference.md and schemas/routes.schema.json. `--check` only compares."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from gateway import registry
from gateway.config import Admin, GatewaySection, Job, Jobs, RouteSection
from gateway.port import Adapter
from gateway.routes_schema import routes_schema
from gateway.rules import Const, Each, Format, From, Nested, When

ROOT = Path(__file__).parents[1]
_SHOWN = 4  # alternatives that fit in a table's cell


def _type(schema: dict[str, Any], definitions: dict[str, Any]) -> str:
    if "$ref" in schema:
        return _type(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " \\| ".join(f"`{value}`" for value in schema["enum"])
    for key in ("anyOf", "oneOf"):
        if key in schema:
            kinds = [_type(option, definitions) for option in schema[key] if option.get("type") != "null"]
            if len([kind for kind in kinds if kind.startswith("{")]) > _SHOWN:
                return "mapping, see below"
            return " \\| ".join(dict.fromkeys(kinds))
    match schema.get("type"):
        case "array":
            return f"list of {_type(schema.get('items', {}), definitions)}"
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return "mapping"
        case "object":
            return "mapping" if "properties" not in schema else f"{{{', '.join(schema['properties'])}}}"
        case None:
            return "any"
        case "string" if str(schema.get("pattern", "")).endswith("(ms|s|m|h)$"):
            return "duration"
        case str() as kind:
            return kind
        case kinds:
            return " \\| ".join(kinds)


def _default(name: str, schema: dict[str, Any], required: list[str]) -> str:
    if name in required:
        return "**required**"
    default = schema.get("default")
    if default in (None, "", [], {}):
        return ""
    if isinstance(default, float) and schema.get("type") == "string":
        return f"`{default:g}s`"
    return f"`{default}`" if isinstance(default, str) and default.isprintable() else f"`{json.dumps(default)}`"


def _options(model: type[BaseModel]) -> Iterator[str]:
    schema = model.model_json_schema(by_alias=True)
    definitions = schema.get("$defs", {})
    if "$ref" in schema:  # a model that contains itself
        schema = definitions[schema["$ref"].rpartition("/")[2]]
    yield from _table(schema, definitions)


def _table(schema: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    properties: dict[str, dict[str, Any]] = schema.get("properties", {})
    if not properties:
        yield "No options."
        return
    yield "| option | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, option in properties.items():
        text = str(option.get("description", "")).replace("|", "\\|").replace("\n", " ")
        yield (
            f"| `{name}` | {_type(option, definitions)} "
            f"| {_default(name, option, schema.get('required', []))} | {text} |"
        )


def _references(schema: Any) -> Iterator[str]:
    """The names of the definitions that a schema refers to itself, in order."""
    match schema:
        case {"$ref": str(reference)}:
            yield reference.rpartition("/")[2]
        case dict():
            for value in schema.values():
                yield from _references(value)
        case list():
            for value in schema:
                yield from _references(value)


def _nested(model: type[BaseModel], told: dict[str, str], protocol: str) -> Iterator[str]:
    """The options of options. told: those that were told before, with the protocol under which they are."""
    whole = model.model_json_schema(by_alias=True)
    definitions = whole.get("$defs", {})
    todo = [(whole, "")]
    seen: set[str] = set()
    while todo:
        schema, path = todo.pop(0)
        for option, inner in schema.get("properties", {}).items():
            place = f"{path}{option}"
            for name in dict.fromkeys(_references(inner)):
                definition = definitions[name]
                if name in seen or "properties" not in definition:
                    continue
                seen.add(name)
                todo.append((definition, f"{place}."))
                text = str(definition.get("description", "")).partition("\n")[0]
                key = json.dumps([name, definition])
                elsewhere = told.setdefault(key, protocol)
                if elsewhere != protocol:
                    continue
                yield from (f"`{place}`" + (f": {text}" if text else ""), "", *_table(definition, definitions), "")


def _example(adapter: Adapter) -> Iterator[str]:
    examples = adapter.examples
    endpoints = {
        name: {"protocol": adapter.protocol, **endpoint} for name, endpoint in examples.get("endpoints", {}).items()
    }
    sides = {name: examples[name] for name in ("from", "to") if name in examples}
    yield "```yaml"
    yield yaml.safe_dump({"endpoints": endpoints}, sort_keys=False, default_flow_style=None, width=110).rstrip()
    yield "# in a route"
    yield yaml.safe_dump(sides, sort_keys=False, default_flow_style=None, width=110).rstrip()
    yield "```"


def reference() -> str:
    """The reference of routes.yaml as Markdown."""
    lines = [
        "# Reference of routes.yaml",
        "",
        "Generated from the code by `make docs`; the same declarations make `schemas/routes.schema.json`, "
        "what `gateway check` accepts, and its messages.",
        "",
        "`${VAR}` and `${VAR:-default}` are filled in from the environment before anything is checked; `$$` is a "
        "dollar sign. Durations are written `500ms`, `2s`, `1m`, `1h`.",
        "",
        "## gateway",
        "",
        *_options(GatewaySection),
        "",
        "`admin`:",
        "",
        *_options(Admin),
        "",
        "`jobs`:",
        "",
        *_options(Jobs),
        "",
        "## routes",
        "",
        *_options(RouteSection),
        "",
        "`job` (see [jobs.md](jobs.md)):",
        "",
        *_options(Job),
        "",
        "## The field map",
        "",
        "`request: {map: ...}` and `reply: {map: ...}` are target field <- rule. A rule is a path such as "
        "`$.buyer.id`, or one of the mappings below. Paths start with `$` (the body, or the item inside `each`), "
        "`$root` (the whole body), `$params.NAME` (what addressing captured), `$headers.NAME` or `$key`.",
        "",
    ]
    for rule in (From, Const, Format, Each, Nested, When):
        title = "when" if rule is When else rule.__name__.lower()
        lines += [f"### {title}", "", str(rule.__doc__), "", *_options(rule), ""]
    told: dict[str, str] = {}
    for protocol in registry.protocols():
        adapter = registry.adapter(protocol)
        page = f"What it does, an example to run, its errors and limits: [{protocol}](protocols/{protocol}.md)."
        lines += [f"## {protocol}", "", f"{adapter.summary.rstrip('.')}. {page}", "", *_example(adapter), ""]
        lines += ["### Endpoint", "", *_options(adapter.endpoint), ""]
        lines += _nested(adapter.endpoint, told, protocol)
        for title, side in (("from", adapter.inbound), ("to", adapter.outbound)):
            if side is not None:
                patterns = ", ".join(sorted(pattern.label for pattern in side.patterns))
                lines += [f"### {title}", "", f"Patterns: {patterns}.", "", *_options(side.address), ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    """0 when everything is, or was brought, up to date."""
    generated = {
        ROOT / "docs" / "reference.md": reference(),
        ROOT / "schemas" / "routes.schema.json": json.dumps(routes_schema(), indent=2) + "\n",
    }
    stale = [path for path, text in generated.items() if not path.exists() or path.read_text() != text]
    if "--check" not in sys.argv:
        for path in stale:
            path.write_text(generated[path])
    elif stale:
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
        sys.stderr.write(f"out of date: {names}; run make docs\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
