"""Hardened XML parsing, the only way that XML enters this process."""

import re
from typing import Final, TypeAlias

from lxml import etree

Element: TypeAlias = etree._Element  # noqa: SLF001  lxml names its element class no other way

XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"
XML: Final = "http://www.w3.org/XML/1998/namespace"
XSD: Final = "http://www.w3.org/2001/XMLSchema"
NESTING: Final = 64  # open elements below one another
ATTRIBUTES: Final = 64  # of one element, namespace declarations included

_PROLOG: Final = re.compile(rb"\s*(?:<\?.*?\?>\s*|<!--.*?-->\s*)*", re.DOTALL)
_DECLARED: Final = re.compile(rb"<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
_ENCODINGS: Final = {
    "utf-8": "",
    "utf8": "",
    "us-ascii": "",
    "ascii": "",
    "utf-16": "utf-16",
    "iso-8859-1": "iso-8859-1",
    "latin-1": "iso-8859-1",
    "windows-1252": "windows-1252",
}
_too_deep = etree.XPath("boolean(/*" + "/*" * NESTING + ")")
_too_wide = etree.XPath(f"boolean(//*[count(@*) > {ATTRIBUTES}])")


def clark(namespace: str, local: str) -> str:
    return f"{{{namespace}}}{local}" if namespace else local


def local_name(tag: str) -> str:
    return tag.rpartition("}")[2]


def namespace_of(tag: str) -> str:
    return tag[1:].partition("}")[0] if tag.startswith("{") else ""


class XmlError(ValueError):
    """This is no XML that is accepted; the text is for the caller."""


def _parser() -> etree.XMLParser:
    return etree.XMLParser(
        encoding="utf-8",
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )


_lxml_parser = _parser()


def parse_xml(data: bytes, charset: str = "") -> Element:
    """The root element. Comments and processing instructions are left out.

    charset: what the transport says, before the document's own declaration (RFC 7303, 3.2). UTF-8, UTF-16,
        ISO-8859-1 and Windows-1252 are read.

    Raises XmlError: not well-formed, a DOCTYPE (so there are no entities to expand or fetch), bytes that are not of
    the encoding, nesting deeper than NESTING, an element with more than ATTRIBUTES attributes.
    """
    if charset or data.startswith((b"\xff\xfe", b"\xfe\xff", b"<?xml")):
        data = _utf8(data, charset)
    prolog = _PROLOG.match(data, 3 if data.startswith(b"\xef\xbb\xbf") else 0)
    if prolog is not None and data.startswith(b"<!DOCTYPE", prolog.end()):
        raise XmlError("a document type declaration (DOCTYPE) is not accepted")
    try:
        root = etree.fromstring(data, _lxml_parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise XmlError(f"this is not well-formed XML: {_reason(error)}") from None
    if root.getroottree().docinfo.internalDTD is not None:
        raise XmlError("a document type declaration (DOCTYPE) is not accepted")
    # Counting bytes is cheap; only a message that could be too deep or too wide is looked at again.
    if data.count(b"</") + data.count(b"/>") > NESTING and _too_deep(root):
        raise XmlError(f"XML is nested deeper than {NESTING} levels")
    if data.count(b"=") > ATTRIBUTES and _too_wide(root):
        raise XmlError(f"an element has more than {ATTRIBUTES} attributes")
    return root


def _utf8(data: bytes, charset: str) -> bytes:
    encoding = charset.lower()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif data.startswith(b"\xef\xbb\xbf"):
        encoding = "utf-8"
    elif not encoding:
        declared = _DECLARED.match(data)
        encoding = declared[1].decode().lower() if declared else "utf-8"
    codec = _ENCODINGS.get(encoding)
    if codec is None:
        raise XmlError(f"the encoding {encoding[:40]!r} is not accepted; send UTF-8")
    try:
        return data.decode(codec).encode() if codec else data
    except UnicodeError:
        raise XmlError(f"the bytes are not {encoding}") from None


def _reason(error: Exception) -> str:
    # Without lxml's trailing file name.
    text = str(error).splitlines()[0] if str(error) else "it can't be parsed"
    return text.removesuffix(" (<string>, line 1)").partition(" (<string>")[0]


def outer_xml(element: Element) -> str:
    """The element as XML text, without what follows it and without namespace declarations that nothing in it uses."""
    # Not deepcopy(), which drops the declarations of prefixes that only text uses.
    alone = etree.fromstring(etree.tostring(element, with_tail=False), _lxml_parser)
    texts = [text for node in alone.iter() for text in (node.text, *node.attrib.values()) if text is not None]
    # A prefix may also stand in text, as in xsi:type="xsd:int".
    used = [prefix for prefix in alone.nsmap if prefix and any(f"{prefix}:" in text for text in texts)]
    etree.cleanup_namespaces(alone, keep_ns_prefixes=used)
    return etree.tostring(alone, encoding="unicode")
