"""Contract: message classes of .proto files, made at run time as the gateway itself does it."""

from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

from gateway.schema.idl.proto.reader import compile_files

HOME: Final = Path(__file__).resolve().parents[1]
"""The checkout: routes.yaml and schemas/ are here."""
SCHEMAS: Final = HOME / "schemas"


class Contract:
    """The contract of the named files in schemas/."""

    def __init__(self, *names: str) -> None:
        self._pool = descriptor_pool.DescriptorPool()
        for file in compile_files([SCHEMAS / name for name in names], ()).file:
            self._pool.Add(file)

    def message(self, name: str) -> Any:
        """The class of a message, by its full name."""
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(name))

    def method(self, name: str) -> tuple[type[Message], type[Message]]:
        """The classes of request and reply of package.Service/Method."""
        service, _, method = name.partition("/")
        found = self._pool.FindServiceByName(service).methods_by_name[method]
        return message_factory.GetMessageClass(found.input_type), message_factory.GetMessageClass(found.output_type)
