"""Contracts by server reflection: its questions and answers as bytes, for whoever has a stream to carry them.

https://github.com/grpc/grpc/blob/master/doc/server-reflection.md. v1 and v1alpha have the same messages.
"""

from collections.abc import Collection, Generator, Sequence
from typing import Any, Final

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from grpc_reflection.v1alpha import reflection_pb2

from gateway.schema.idl.proto.reader import ProtoError
from gateway.status import Code

_MAX_FILES: Final = 10_000
_Question: Final[Any] = reflection_pb2.ServerReflectionRequest
_Answer: Final[Any] = reflection_pb2.ServerReflectionResponse


def asked_contract(leave_out: Collection[str]) -> Generator[bytes, bytes, FileDescriptorSet]:
    """Yields a question, is sent its answer, and so on; returns the contract of every service that is listed and not
    left out. Raises ProtoError where an answer is none."""
    files: dict[str, FileDescriptorProto] = {}
    listed = _answer((yield _question(list_services="")), "its services")
    for service in listed.list_services_response.service:
        if service.name not in leave_out:
            _add(files, (yield _question(file_containing_symbol=service.name)), service.name)
    while missing := {name for file in files.values() for name in file.dependency} - files.keys():
        for name in sorted(missing):
            _add(files, (yield _question(file_by_filename=name)), name)
            if name not in files:
                raise ProtoError(f"the target's reflection answers for {name} with another file")
    return FileDescriptorSet(file=[files[name] for name in sorted(files)])


def _question(**question: str) -> bytes:
    data: bytes = _Question(**question).SerializeToString()
    return data


def _answer(data: bytes, asked: str) -> Any:
    try:
        answer = _Answer.FromString(data)
    except DecodeError as error:
        raise ProtoError("the target's reflection answers with broken bytes") from error
    if answer.HasField("error_response"):
        raise ProtoError(f"the target's reflection does not know {asked}")
    return answer


def _add(files: dict[str, FileDescriptorProto], data: bytes, asked: str) -> None:
    for serialized in _answer(data, asked).file_descriptor_response.file_descriptor_proto:
        try:
            file = FileDescriptorProto.FromString(serialized)
        except DecodeError as error:
            raise ProtoError("the target's reflection sends broken descriptors") from error
        files.setdefault(file.name, file)
    if len(files) > _MAX_FILES:
        raise ProtoError(f"the target's contract has more than {_MAX_FILES} files")


class Reflection:
    """Answers questions about the services of one contract.

    pool: the contract's. others: files of services that are served beside it. services: what is listed.
    """

    def __init__(self, pool: DescriptorPool, others: Sequence[FileDescriptor]) -> None:
        self.services: Collection[str] = ()
        self._pool = pool
        self._others = others

    def answer(self, data: bytes) -> bytes:
        """Raises ProtoError for bytes that are no question."""
        try:
            question = _Question.FromString(data)
        except DecodeError as error:
            raise ProtoError("the bytes are not a ServerReflectionRequest") from error
        answer = _Answer(valid_host=question.host, original_request=question)
        try:
            self._fill(answer, question)
        except KeyError:
            answer.error_response.error_code = Code.NOT_FOUND
            answer.error_response.error_message = "there is no such thing here"
        reply: bytes = answer.SerializeToString()
        return reply

    def _fill(self, answer: Any, question: Any) -> None:
        kind = question.WhichOneof("message_request")
        asked = getattr(question, kind or "host")
        match kind:
            case "list_services":
                for name in sorted(self.services):
                    answer.list_services_response.service.add(name=name)
            case "file_by_filename" | "file_containing_symbol":
                self._describe(answer, self._file(kind, asked))
            case "file_containing_extension":
                message = self._pool.FindMessageTypeByName(asked.containing_type)
                extension: Any = self._pool.FindExtensionByNumber(message, asked.extension_number)
                self._describe(answer, extension.file)
            case "all_extension_numbers_of_type":
                message = self._pool.FindMessageTypeByName(asked)
                numbers = answer.all_extension_numbers_response
                numbers.base_type_name = message.full_name
                numbers.extension_number.extend(sorted(found.number for found in self._pool.FindAllExtensions(message)))
            case _:
                answer.error_response.error_code = Code.INVALID_ARGUMENT
                answer.error_response.error_message = "the request asks nothing"

    def _file(self, kind: str, asked: str) -> FileDescriptor:
        find = self._pool.FindFileByName if kind == "file_by_filename" else self._pool.FindFileContainingSymbol
        try:
            return find(asked)
        except KeyError:
            for file in self._others:
                if asked == file.name or _declares(file, asked):
                    return file
            service, _, method = asked.rpartition(".")  # pools find no methods
            return self._pool.FindServiceByName(service).methods_by_name[method].containing_service.file

    def _describe(self, answer: Any, file: FileDescriptor) -> None:
        """With all that it imports."""
        todo, seen = [file], {file.name}
        for one in todo:
            answer.file_descriptor_response.file_descriptor_proto.append(one.serialized_pb)
            new = [imported for imported in one.dependencies if imported.name not in seen]
            seen.update(imported.name for imported in new)
            todo += new


def _declares(file: FileDescriptor, symbol: str) -> bool:
    declared = (*file.services_by_name.values(), *file.message_types_by_name.values())
    return any(symbol == one.full_name or symbol.startswith(f"{one.full_name}.") for one in declared)
