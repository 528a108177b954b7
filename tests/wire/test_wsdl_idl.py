"""WSDL and XSD as the type IR, and what is refused at load."""

from pathlib import Path
from typing import Any

import pytest
from support.soap_service import ORDERS, SCHEMAS

from gateway.pattern import Pattern
from gateway.schema.idl.xml.hint import Place
from gateway.schema.idl.xml.wsdl import Version, Wsdl
from gateway.schema.idl.xml.xsd_library import XsdError
from gateway.schema.types import Enumeration, List, Record

HEAD = (
    '<wsdl:definitions targetNamespace="urn:t" xmlns:t="urn:t" xmlns:wsdl="http://schemas.xmlsoap.org/wsdl/" '
    'xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:xsd="http://www.w3.org/2001/XMLSchema">\n'
)


def wsdl(schema: str, attributes: str = "", head: str = "") -> str:
    """A WSDL with one operation Do whose input element is t:In."""
    return (
        f'{HEAD}{head}<wsdl:types><xsd:schema targetNamespace="urn:t" elementFormDefault="qualified" {attributes}>'
        f"{schema}</xsd:schema></wsdl:types>"
        '<wsdl:message name="In"><wsdl:part name="b" element="t:In"/></wsdl:message>'
        '<wsdl:portType name="P"><wsdl:operation name="Do"><wsdl:input message="t:In"/></wsdl:operation>'
        "</wsdl:portType>"
        '<wsdl:binding name="B" type="t:P"><soap:binding transport="http://schemas.xmlsoap.org/soap/http"/>'
        '<wsdl:operation name="Do"><soap:operation soapAction="do"/><wsdl:input><soap:body use="literal"/></wsdl:input>'
        "</wsdl:operation></wsdl:binding>"
        '<wsdl:service name="S"><wsdl:port name="P" binding="t:B"><soap:address location="http://x/"/></wsdl:port>'
        "</wsdl:service></wsdl:definitions>"
    )


def element(inside: str) -> str:
    return f'<xsd:element name="In"><xsd:complexType>{inside}</xsd:complexType></xsd:element>'


def read(tmp_path: Path, text: str, include: tuple[Path, ...] = ()) -> Record:
    path = tmp_path / "service.wsdl"
    path.write_text(text)
    request = Wsdl(path, include).port().operation("Do").request
    assert isinstance(request, Record)
    return request


def rows(record: Record) -> list[tuple[Any, ...]]:
    return [(field.name, str(field.type), field.required, field.choice) for field in record.fields]


def test_the_demo_contract() -> None:
    port = Wsdl(Path(ORDERS)).port()
    assert (port.version, port.operations) == (Version.SOAP_1_1, ("PlaceOrder", "GetOrder", "RegisterEvent"))
    place = port.operation("PlaceOrder")
    assert place.pattern is Pattern.REQUEST_REPLY
    assert list(place.failures) == ["OutOfStockFault"]
    assert isinstance(place.reply, Record)
    assert [(field.name, str(field.type)) for field in place.reply.fields] == [
        ("order_id", "string"),
        ("status", "OrderStatus"),
        ("total_cents", "int64"),
        ("placed_at", "timestamp"),
    ]
    status = place.reply.fields[1].type
    assert isinstance(status, Enumeration)
    assert list(status.numbers) == ["UNSPECIFIED", "PLACED", "PAID", "SHIPPED"] and not status.open
    event = port.operation("RegisterEvent")
    assert (event.pattern, event.reply) == (Pattern.ONE_WAY, None)
    assert event.doc.startswith("One-way")


def test_several_ports_need_a_name() -> None:
    contract = Wsdl(SCHEMAS / "rpc.wsdl")
    with pytest.raises(XsdError, match=r"several SOAP ports, .*Bare\.Bare"):
        contract.port()
    with pytest.raises(XsdError, match=r"no SOAP port Bare\.Nope"):
        contract.port("Bare", "Nope")
    assert contract.port("Bare").operations == ("GetPrice",)
    with pytest.raises(XsdError, match="no operation 'Nope'; it has GetPrice"):
        contract.port("Bare").operation("Nope")


def test_arms_of_several_elements_are_optional_and_the_same_element_in_two_arms_is_one(tmp_path: Path) -> None:
    record = read(
        tmp_path,
        wsdl(
            element(
                '<xsd:choice><xsd:sequence><xsd:element name="a" type="xsd:int"/><xsd:element name="b" type="xsd:int"/>'
                '</xsd:sequence><xsd:sequence><xsd:element name="a" type="xsd:int"/>'
                '<xsd:element name="c" type="xsd:int"/></xsd:sequence></xsd:choice>'
            )
        ),
    )
    assert rows(record) == [("a", "int32", False, ""), ("b", "int32", False, ""), ("c", "int32", False, "")]
    assert not record.choices


def test_a_choice_of_elements_is_required_as_the_schema_says(tmp_path: Path) -> None:
    arms = '<xsd:element name="a" type="xsd:int"/><xsd:element name="b" type="xsd:int"/>'
    record = read(tmp_path, wsdl(element(f"<xsd:choice>{arms}</xsd:choice>")))
    assert rows(record) == [("a", "int32", False, "choice"), ("b", "int32", False, "choice")]
    assert record.choices[0].required
    record = read(
        tmp_path, wsdl(element(f'<xsd:sequence><xsd:choice minOccurs="0">{arms}</xsd:choice></xsd:sequence>'))
    )
    assert not record.choices[0].required


def test_substitution_groups_are_choices(tmp_path: Path) -> None:
    schema = (
        '<xsd:element name="shape" abstract="true" type="xsd:string"/>'
        '<xsd:element name="circle" substitutionGroup="t:shape"/>'
        '<xsd:element name="square" substitutionGroup="t:shape"/>'
        + element('<xsd:sequence><xsd:element ref="t:shape"/></xsd:sequence>')
    )
    assert rows(read(tmp_path, wsdl(schema))) == [
        ("circle", "string", False, "choice"),
        ("square", "string", False, "choice"),
    ]


def test_extension_puts_the_bases_fields_first_and_restriction_replaces_them(tmp_path: Path) -> None:
    schema = (
        '<xsd:complexType name="A"><xsd:sequence><xsd:element name="a" type="xsd:int"/></xsd:sequence>'
        '<xsd:attribute name="x"/><xsd:attribute name="y"/></xsd:complexType>'
        '<xsd:complexType name="B"><xsd:complexContent><xsd:extension base="t:A"><xsd:sequence>'
        '<xsd:element name="b" type="xsd:byte"/></xsd:sequence><xsd:attribute name="z" use="required"/></xsd:extension>'
        "</xsd:complexContent></xsd:complexType>"
        '<xsd:complexType name="C"><xsd:complexContent><xsd:restriction base="t:B"><xsd:sequence>'
        '<xsd:element name="a" type="xsd:int"/></xsd:sequence><xsd:attribute name="y" use="prohibited"/>'
        "</xsd:restriction></xsd:complexContent></xsd:complexType>"
        '<xsd:element name="In" type="t:C"/>'
    )
    assert rows(read(tmp_path, wsdl(schema))) == [
        ("a", "int32", True, ""),
        ("x", "string", False, ""),
        ("z", "string", True, ""),
    ]


def test_derived_types_are_optional_arms_of_their_base(tmp_path: Path) -> None:
    schema = (
        '<xsd:complexType name="A"><xsd:sequence><xsd:element name="a" type="xsd:int"/></xsd:sequence>'
        '</xsd:complexType><xsd:complexType name="B"><xsd:complexContent><xsd:extension base="t:A"><xsd:sequence>'
        '<xsd:element name="b" type="xsd:int"/></xsd:sequence></xsd:extension></xsd:complexContent></xsd:complexType>'
        '<xsd:element name="In" type="t:A"/>'
    )
    record = read(tmp_path, wsdl(schema))
    assert rows(record) == [("a", "int32", True, ""), ("B", "B", False, "xsi:type")]
    arm = record.fields[1].type
    assert isinstance(arm, Record) and [field.name for field in arm.fields] == ["b"]
    assert not record.choices[0].required


def test_recursive_types_close_over_themselves(tmp_path: Path) -> None:
    schema = (
        '<xsd:complexType name="T"><xsd:sequence><xsd:element name="t" type="t:T" minOccurs="0" maxOccurs="unbounded"/>'
        '</xsd:sequence></xsd:complexType><xsd:element name="In" type="t:T"/>'
    )
    field = read(tmp_path, wsdl(schema)).fields[0]
    assert isinstance(field.type, List) and isinstance(field.type.item, Record)
    assert field.type.item.fields[0].type == field.type


def test_attributes_with_the_name_of_an_element_get_one_of_their_own(tmp_path: Path) -> None:
    record = read(
        tmp_path,
        wsdl(element('<xsd:sequence><xsd:element name="id" type="xsd:int"/></xsd:sequence><xsd:attribute name="id"/>')),
    )
    assert [(field.name, field.wire.place) for field in record.fields] == [
        ("id", Place.ELEMENT),
        ("id_attribute", Place.ATTRIBUTE),
    ]


def test_unqualified_and_chameleon_schemas(tmp_path: Path) -> None:
    (tmp_path / "common.xsd").write_text(
        '<xsd:schema xmlns:xsd="http://www.w3.org/2001/XMLSchema"><xsd:complexType name="C"><xsd:sequence>'
        '<xsd:element name="d" type="D"/></xsd:sequence></xsd:complexType>'
        '<xsd:simpleType name="D"><xsd:restriction base="xsd:int"/></xsd:simpleType></xsd:schema>'
    )
    schema = '<xsd:include schemaLocation="common.xsd"/><xsd:element name="In" type="t:C"/>'
    record = read(tmp_path, wsdl(schema))
    assert [(field.wire.tag, str(field.type)) for field in record.fields] == [("d", "int32")]
    assert record.wire.tag == "{urn:t}In"


def test_imports_by_url_come_from_an_include_folder_and_are_never_fetched(tmp_path: Path) -> None:
    schema = '<xsd:import namespace="urn:test:parts" schemaLocation="http://127.0.0.1:1/x/parts.xsd"/>' + element(
        '<xsd:sequence><xsd:element ref="p:remark" xmlns:p="urn:test:parts"/></xsd:sequence>'
    )
    with pytest.raises(XsdError, match=r"service.wsdl:\d+: .*urn:test:parts.*nothing is fetched"):
        read(tmp_path, wsdl(schema))
    assert rows(read(tmp_path, wsdl(schema), (SCHEMAS,))) == [("remark", "string", True, "")]


def test_files_beyond_the_folder_are_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "secret.xsd").write_text('<xsd:schema xmlns:xsd="http://www.w3.org/2001/XMLSchema"/>')
    (folder / "link.xsd").symlink_to(tmp_path / "secret.xsd")
    for location in ("../secret.xsd", str(tmp_path / "secret.xsd"), "link.xsd", "file:///etc/passwd"):
        with pytest.raises(XsdError, match="nothing is fetched"):
            read(folder, wsdl(f'<xsd:include schemaLocation="{location}"/>' + element("")))


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ('<xsd:element name="In" type="t:Nope"/>', "there is no such type"),
        ('<xsd:element name="In" type="x:Nope"/>', "prefix"),
        ('<xsd:element name="Other"/>', "there is no element"),
        (
            '<xsd:complexType name="A"><xsd:complexContent><xsd:extension base="t:A"/></xsd:complexContent>'
            "</xsd:complexType>"
            '<xsd:element name="In" type="t:A"/>',
            "derived from itself",
        ),
        (
            '<xsd:group name="G"><xsd:sequence><xsd:group ref="t:G"/></xsd:sequence></xsd:group>'
            + element('<xsd:group ref="t:G"/>'),
            "contains itself",
        ),
        (
            element(
                '<xsd:sequence><xsd:element name="a" type="xsd:int"/><xsd:element name="b" type="xsd:int"/>'
                '<xsd:element name="a" type="xsd:int"/></xsd:sequence>'
            ),
            "stands twice",
        ),
        ('<xsd:redefine schemaLocation="x"/>', "redefine"),
        ('<xsd:include schemaLocation="missing.xsd"/>', "missing.xsd"),
        (element('<xsd:sequence><xsd:element name="a" maxOccurs="x"/></xsd:sequence>'), "no range"),
        (element('<xsd:attribute name="a" type="xsd:int" default="x"/>'), "default is not valid"),
    ],
)
def test_what_can_not_be_read_is_named_with_its_place(tmp_path: Path, schema: str, words: str) -> None:
    with pytest.raises(XsdError, match=words) as caught:
        read(tmp_path, wsdl(schema))
    assert "service.wsdl:" in str(caught.value)


def test_what_is_no_wsdl(tmp_path: Path) -> None:
    for text, words in (("<a/>", "not a WSDL"), ("", "not well-formed"), ("<!DOCTYPE a><a/>", "DOCTYPE")):
        path = tmp_path / "x.wsdl"
        path.write_text(text)
        with pytest.raises(XsdError, match=words):
            Wsdl(path)
    with pytest.raises(XsdError, match="No such file"):
        Wsdl(tmp_path / "none.wsdl")
