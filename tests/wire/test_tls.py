"""TLS contexts of what routes.yaml says, against files that OpenSSL made."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from gateway.net.tls import ClientTls, Tls, client_context, server_context
from gateway.port import ContractError

openssl_needed = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not on PATH")


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """own.pem and own.key, secret.pem and secret.key, whose key has a passphrase."""
    new = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=orders.test")
    openssl(tmp_path, *new, "-nodes", "-keyout", "own.key", "-out", "own.pem")
    openssl(tmp_path, *new, "-passout", "pass:shop", "-keyout", "secret.key", "-out", "secret.pem")
    return tmp_path


def test_no_verification_is_ever_turned_off() -> None:
    context = client_context(ClientTls(), Path)
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname


@openssl_needed
def test_authorities_of_a_target_replace_those_of_the_system(files: Path) -> None:
    context = client_context(ClientTls(ca="own.pem"), files.joinpath)
    assert [dict(*entry["subject"])["commonName"] for entry in context.get_ca_certs()] == ["orders.test"]
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname


@openssl_needed
def test_a_listener_with_authorities_demands_certificates(files: Path) -> None:
    own = {"certificate": "own.pem", "key": "own.key"}
    assert server_context(Tls(**own), files.joinpath).verify_mode is ssl.CERT_NONE
    demanding = server_context(Tls(**own, ca="own.pem"), files.joinpath)
    assert demanding.verify_mode is ssl.CERT_REQUIRED and len(demanding.get_ca_certs()) == 1


@openssl_needed
@pytest.mark.parametrize(
    ("options", "field", "told"),
    [
        ({"ca": "none.pem"}, "ca", "can't read authorities from none.pem: "),
        ({"ca": "own.key"}, "ca", "can't read authorities from own.key: "),
        ({"certificate": "none.pem", "key": "own.key"}, "certificate", "can't read a certificate from none.pem: "),
        ({"certificate": "own.pem", "key": "secret.key"}, "certificate", "can't read a certificate from own.pem: "),
        ({"certificate": "secret.pem", "key": "secret.key"}, "certificate", "from secret.pem: "),
    ],
)
def test_files_that_can_not_be_used(files: Path, options: dict[str, str], field: str, told: str) -> None:
    for make in (client_context, server_context):
        with pytest.raises(ContractError) as refused:
            make(Tls(**options), files.joinpath)
        assert refused.value.field == ("tls", field) and told in refused.value.message
