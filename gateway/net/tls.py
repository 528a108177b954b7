"""TLS as routes.yaml writes it, for all protocols."""

from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ClientTls(BaseModel):
    """Of connections that the gateway makes."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)
    ca: str = Field(default="", description="PEM file of the authorities to trust; the system's where empty.")
    certificate: str = Field(default="", description="PEM file of the client certificate and its chain.")
    key: str = Field(default="", description="PEM file of the client certificate's key.")

    @model_validator(mode="after")
    def _pair(self) -> Self:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("certificate and key go together")
        return self


class Tls(ClientTls):
    """Of connections that the gateway makes or accepts."""

    ca: str = Field(
        default="",
        description="PEM file of the authorities to trust. A listener with it demands certificates of its clients; "
        "for connections to a target the system's where empty.",
    )
    certificate: str = Field(
        default="", description="PEM file of the own certificate and its chain; a listener needs it."
    )
    key: str = Field(default="", description="PEM file of the own certificate's key.")
    server_name: str = Field(
        default="", description="The name that a target's certificate must bear; the target's host where empty."
    )
