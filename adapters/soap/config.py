"""SOAP in routes.yaml."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator
from yarl import URL

from gateway.net.address import split_host_port
from gateway.net.http_router import PathTemplate
from gateway.port import Address, Endpoint


def _listen(text: str) -> str:
    split_host_port(text)
    return text


def _path(text: str) -> str:
    if not PathTemplate(text).literal:
        raise ValueError(f"{text!r}: all operations of an endpoint are at one path, without variables")
    return text


def _url(text: str) -> str:
    url = URL(text)
    if url.scheme not in ("http", "https") or not url.host or url.fragment or url.user:
        raise ValueError(f"{text!r} is not a URL such as http://orders:8080/soap")
    return text


class SoapEndpoint(Endpoint):
    """A SOAP service that the gateway is (`listen` and `path`), or one that it calls (`target`)."""

    wsdl: str = Field(
        min_length=1,
        description="WSDL 1.1 file. What it imports is read from its folder and from `include`; nothing is fetched.",
    )
    include: tuple[str, ...] = Field(
        default=(), description="Further folders for imports, also for those that the WSDL names by URL."
    )
    service: str = Field(default="", description="Name of the wsdl:service, where the WSDL has several.")
    port: str = Field(default="", description="Name of the wsdl:port, where the service's ports differ.")
    listen: Annotated[str, AfterValidator(_listen)] | None = Field(
        default=None, description="Inbound: host:port to listen on. Endpoints with the same value share the port."
    )
    path: Annotated[str, AfterValidator(_path)] = Field(
        default="/", description="Inbound: where the service is; GET with ?wsdl answers its WSDL."
    )
    target: Annotated[str, AfterValidator(_url)] | None = Field(
        default=None, description="Outbound: URL of the service; https:// verifies its certificate."
    )
    version: Literal["1.1", "1.2"] | None = Field(
        default=None, description="Outbound: the SOAP version to speak; by default that of the WSDL's port."
    )
    username: str = Field(default="", description="Outbound: user name of a WS-Security UsernameToken.")
    password: SecretStr = Field(default=SecretStr(""), description="Outbound: that user's password; never logged.")
    password_digest: bool = Field(
        default=False, description="Outbound: send the password's digest with a nonce, not the password itself."
    )
    max_message_bytes: int = Field(default=1024 * 1024, ge=1, description="Largest message, inflated.")

    @model_validator(mode="after")
    def _one_direction(self) -> Self:
        if (self.listen is None) == (self.target is None):
            raise ValueError("give listen (inbound) or target (outbound)")
        if self.password.get_secret_value() and not self.username:
            raise ValueError("a password needs a username")
        return self


class SoapSource(Address):
    """Calls of this operation."""

    operation: str = Field(min_length=1, description="Name of the wsdl:operation.")


class SoapTarget(Address):
    """A call of this operation."""

    operation: str = Field(min_length=1, description="Name of the wsdl:operation.")
