"""SOAP in routes.yaml."""

from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from gateway.net.address import one_direction
from gateway.net.http.address import Https, Listen, LiteralPath, ServiceUrl, https_fits
from gateway.port import Address, Endpoint


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
    listen: Listen | None = Field(
        default=None, description="Inbound: host:port to listen on. Endpoints with the same value share the port."
    )
    path: LiteralPath = Field(
        default="/", description="Inbound: where the service is; GET with ?wsdl answers its WSDL."
    )
    target: ServiceUrl | None = Field(
        default=None, description="Outbound: URL of the service; https:// verifies its certificate."
    )
    tls: Https = None
    version: Literal["1.1", "1.2"] | None = Field(
        default=None, description="Outbound: the SOAP version to speak; by default that of the WSDL's port."
    )
    username: str = Field(default="", description="Outbound: user name of a WS-Security UsernameToken.")
    password: SecretStr = Field(default=SecretStr(""), description="Outbound: that user's password; never logged.")
    password_digest: bool = Field(
        default=False, description="Outbound: send the password's digest with a nonce, not the password itself."
    )
    max_message_bytes: int = Field(default=1024 * 1024, ge=1, description="Largest message, inflated.")

    _one_direction = model_validator(mode="after")(one_direction)
    _https_fits = model_validator(mode="after")(https_fits)

    @model_validator(mode="after")
    def _one_user(self) -> Self:
        if self.password.get_secret_value() and not self.username:
            raise ValueError("a password needs a username")
        return self


class SoapSource(Address):
    """Calls of this operation."""

    operation: str = Field(min_length=1, description="Name of the wsdl:operation.")


class SoapTarget(Address):
    """A call of this operation."""

    operation: str = Field(min_length=1, description="Name of the wsdl:operation.")
