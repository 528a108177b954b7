"""Apache's own Thrift for Python: code made by its compiler, and plain values as that code has them."""

import atexit
import importlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from gateway.schema.idl.thrift.reader import ThriftKind, ThriftType
from gateway.schema.types import Enumeration, List, Record
from gateway.schema.values import struct_of

ROOT = Path(__file__).parents[2]
EVERYTHING = ROOT / "tests" / "schemas" / "everything.thrift"
ORDERS = ROOT / "schemas" / "orders.thrift"

_made: dict[Path, Path] = {}


def compile_idl(language: str, idl: Path, folder: Path) -> None:
    """Apache's own code for the IDL; skips the test where its compiler is missing."""
    compiler = shutil.which("thrift")
    if compiler is None:
        pytest.skip("Apache's Thrift compiler (Debian: thrift-compiler) is missing")
    command = [compiler, "-r", "--gen", language, "-out", str(folder), str(idl)]
    subprocess.run(command, check=True, capture_output=True)


def generated(idl: Path, *names: str) -> list[ModuleType]:
    """Modules of what the compiler makes of the file; skips the test, naming what is missing."""
    pytest.importorskip("thrift", reason="Apache's Thrift for Python (PyPI: thrift) is missing")
    if idl not in _made:
        folder = Path(tempfile.mkdtemp(prefix="thrift-"))
        atexit.register(shutil.rmtree, folder)
        compile_idl("py", idl, folder)
        sys.path.insert(0, str(folder))
        _made[idl] = folder
    return [importlib.import_module(name) for name in names]


def to_apache(type_: ThriftType, value: Any, modules: dict[str, ModuleType]) -> Any:
    """A plain value as Apache's code has it. modules: by program's name; the root's by the empty one."""
    match type_.kind:
        case ThriftKind.STRUCT:
            record = _record(type_)
            program, _, name = record.name.rpartition(".")
            members = {
                field.name: to_apache(field.wire.type, getattr(value, field.attr), modules)
                for field in record.fields
                if getattr(value, field.attr) is not msgspec.UNSET
            }
            return getattr(modules[program], name)(**members)
        case ThriftKind.LIST:
            return [to_apache(_item(type_), one, modules) for one in value]
        case ThriftKind.SET:
            return {to_apache(_item(type_), one, modules) for one in value}
        case ThriftKind.MAP:
            assert type_.key is not None
            return {
                to_apache(type_.key, key, modules): to_apache(_item(type_), one, modules)
                for key, one in _pairs(type_, value)
            }
        case ThriftKind.ENUM if isinstance(value, str):
            assert isinstance(type_.type, Enumeration)
            return type_.type.numbers[value] if value in type_.type.numbers else int(value)
        case ThriftKind.I64 if type_.unit:
            return value // type_.unit
        case _:
            return value


def from_apache(type_: ThriftType, value: Any) -> Any:
    """The reverse."""
    match type_.kind:
        case ThriftKind.STRUCT:
            record = _record(type_)
            members = {
                field.attr: from_apache(field.wire.type, getattr(value, field.name))
                for field in record.fields
                if getattr(value, field.name) is not None
            }
            return struct_of(record)(**members)
        case ThriftKind.LIST | ThriftKind.SET:
            return [from_apache(_item(type_), one) for one in value]
        case ThriftKind.MAP:
            assert type_.key is not None
            pairs = [(from_apache(type_.key, key), from_apache(_item(type_), one)) for key, one in value.items()]
            if isinstance(type_.type, List):
                assert isinstance(type_.type.item, Record)
                return [struct_of(type_.type.item)(key=key, value=one) for key, one in pairs]
            return {str(key) if type_.key.kind is ThriftKind.ENUM else key: one for key, one in pairs}
        case ThriftKind.ENUM:
            assert isinstance(type_.type, Enumeration)
            return {number: name for name, number in type_.type.numbers.items()}.get(value, value)
        case ThriftKind.I64 if type_.unit:
            return value * type_.unit
        case _:
            return value


def _pairs(type_: ThriftType, value: Any) -> Any:
    return [(one.key, one.value) for one in value] if isinstance(type_.type, List) else value.items()


def _record(type_: ThriftType) -> Record:
    assert isinstance(type_.type, Record)
    return type_.type


def _item(type_: ThriftType) -> ThriftType:
    assert type_.item is not None
    return type_.item
