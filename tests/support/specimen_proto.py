"""Specimens as protobuf messages of specimen.proto: compiled by protoc, read and written by protobuf's own runtime."""

from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from grpc_tools import protoc

from support.specimen import SECOND, Specimen

SCHEMAS: Final = Path(__file__).parents[1] / "schemas"
PACKAGE: Final = "test.specimen.v1"


class Messages:
    """The message classes of specimen.proto and whatever else the files declare, in a pool of their own."""

    def __init__(self, folder: Path, *files: str) -> None:
        import grpc_tools

        bundled = Path(grpc_tools.__file__).parent / "_proto"
        import google

        common = [Path(path) for path in google.__path__]
        output = folder / "descriptors.binpb"
        includes = [f"-I{path}" for path in (folder, SCHEMAS, bundled, *(path.parent for path in common))]
        arguments = ["protoc", *includes, "--include_imports", f"--descriptor_set_out={output}", *files]
        assert protoc.main(arguments) == 0, f"protoc refuses {files}"
        pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(output.read_bytes()).file:
            pool.AddSerializedFile(file.SerializeToString())
        self._pool = pool

    def __getitem__(self, name: str) -> Any:
        """The class of this message of specimen.proto."""
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))

    def specimen(self, given: Specimen) -> Any:
        message = self["Specimen"]()
        for name in ("id", "small", "big", "huge", "ratio", "flag", "label", "blob", "card", "rank"):
            if name in given:
                setattr(message, name, given[name])
        if "price" in given:
            message.price.value = f"{given['price']:f}"
        if "at" in given:
            message.at.seconds, message.at.nanos = divmod(given["at"], SECOND)
        if "took" in given:
            message.took.FromNanoseconds(given["took"])
        if "hue" in given:
            message.hue = (
                message.DESCRIPTOR.fields_by_name["hue"].enum_type.values_by_name[f"HUE_{given['hue']}"].number
            )
        message.tags.update(given["tags"])
        message.sizes.update(given["sizes"])
        message.serial_numbers.extend(given["serial_numbers"])
        for part in given["parts"]:
            message.parts.add(**part)
        if "origin" in given:
            message.origin.SetInParent()
            for name, text in given["origin"].items():
                setattr(message.origin, name, text)
        if "cash" in given:
            message.cash.SetInParent()
            message.cash.currency, message.cash.units = given["cash"]["currency"], given["cash"]["units"]
        if "nickname" in given:
            json_format.ParseDict(given["nickname"], message.nickname)
        if "tree" in given:
            message.tree.SetInParent()
            _grow(given["tree"], message.tree)
        return message

    def batch(self, specimens: list[Specimen]) -> Any:
        return self["Batch"](specimens=[self.specimen(given) for given in specimens])


def specimen_of(message: Any) -> Specimen:
    given: Specimen = {
        name: getattr(message, name) for name in ("id", "small", "big", "huge", "ratio", "flag", "label", "blob")
    }
    given["tags"], given["sizes"] = dict(message.tags), dict(message.sizes)
    given["serial_numbers"] = list(message.serial_numbers)
    given["parts"] = [{"name": part.name, "count": part.count} for part in message.parts]
    present = {field.name for field, _ in message.ListFields()}
    for name in ("card", "rank"):
        if message.HasField(name):
            given[name] = getattr(message, name)
    if message.HasField("price"):
        given["price"] = Decimal(message.price.value)
    if message.HasField("at"):
        given["at"] = message.at.seconds * SECOND + message.at.nanos
    if message.HasField("took"):
        given["took"] = message.took.ToNanoseconds()
    if "hue" in present:
        name = message.DESCRIPTOR.fields_by_name["hue"].enum_type.values_by_number[message.hue].name
        given["hue"] = name.removeprefix("HUE_")
    if message.HasField("origin"):
        given["origin"] = {"city": message.origin.city}
        if message.origin.HasField("zip"):
            given["origin"]["zip"] = message.origin.zip
    if message.HasField("cash"):
        given["cash"] = {"currency": message.cash.currency, "units": message.cash.units}
    if message.HasField("nickname"):
        kind = message.nickname.WhichOneof("kind")
        assert kind in ("null_value", "string_value"), kind
        given["nickname"] = None if kind == "null_value" else message.nickname.string_value
    if message.HasField("tree"):
        given["tree"] = _node_of(message.tree)
    return given


def _grow(given: dict[str, Any], node: Any) -> None:
    node.name = given["name"]
    for child in given["children"]:
        _grow(child, node.children.add())


def _node_of(node: Any) -> dict[str, Any]:
    return {"name": node.name, "children": [_node_of(child) for child in node.children]}
