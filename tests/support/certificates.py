"""Certificates that openssl makes, once a test session, as strict as X.509 verification wants them."""

import shutil
import subprocess
from pathlib import Path

import pytest

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, other.pem (which signed nothing), server.pem and client.pem, and a .key of each.

    The last two are of NAME.example and 127.0.0.1. Skips the test where openssl is missing.
    """
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not on the PATH, which makes the certificates")
    folder = tmp_path_factory.mktemp("pki")

    def openssl(*arguments: str) -> None:
        subprocess.run(("openssl", *arguments), cwd=folder, check=True, capture_output=True, timeout=30)

    for name in ("ca", "other"):
        signs = ("-subj", f"/CN={name}", "-days", "2", "-addext", "keyUsage=critical,keyCertSign")
        openssl("req", "-x509", *_KEY, "-keyout", f"{name}.key", "-out", f"{name}.pem", *signs)
    for name in ("server", "client"):
        openssl("req", *_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        extensions = ("subjectKeyIdentifier=hash", "authorityKeyIdentifier=keyid", "basicConstraints=CA:FALSE")
        names = f"subjectAltName=DNS:{name}.example,IP:127.0.0.1"
        (folder / "extensions").write_text("\n".join((*extensions, names)))
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "extensions")
        openssl("x509", "-req", "-in", f"{name}.csr", *signing, "-out", f"{name}.pem")
    return folder


def own(pki: Path, name: str) -> dict[str, str]:
    """The certificate and key of this name, as routes.yaml says them."""
    return {"certificate": str(pki / f"{name}.pem"), "key": str(pki / f"{name}.key")}
