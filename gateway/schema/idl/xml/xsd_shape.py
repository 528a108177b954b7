"""Shape: the fields that a content model makes."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from msgspec import UNSET

from gateway.schema.idl.xml.document import local_name
from gateway.schema.idl.xml.hint import Place, XmlHint, XmlRecord
from gateway.schema.idl.xml.xsd_particle import ElementParticle, Group, Particle, TypeRef, Wildcard
from gateway.schema.types import ANY, Choice, Field, List, Record

FieldOf: TypeAlias = Callable[[str, str, TypeRef, bool], Field]
"""(name, tag, type, nillable) -> a required, single element."""


class Shape:
    """The fields that a particle makes, as they come together."""

    def __init__(self, field_of: FieldOf, name: str) -> None:
        self._field_of = field_of
        self._name = name
        self.fields: list[Field] = []
        self.choices: list[Choice] = []

    def append(self, field: Field, suffix: str) -> None:
        """With a name of its own."""
        names = {known.name for known in self.fields}
        name, number = field.name, 2
        if name in names:
            name = field.name + suffix
        while name in names:
            name = f"{field.name}{suffix}{number}"
            number += 1
        field.name = name
        self.fields.append(field)

    def add(self, particle: Particle, *, optional: bool, choice: str) -> None:
        match particle:
            case ElementParticle():
                self._element(particle, optional=optional, choice=choice)
            case Wildcard():
                self._wildcard(particle, optional=optional, choice=choice)
            case Group():
                self._group(particle, optional=optional, choice=choice)

    def close(self) -> None:
        """Drop choices that came to have less than two arms."""
        for known in list(self.choices):
            arms = [field for field in self.fields if field.choice == known.name]
            if len(arms) < 2:
                self.choices.remove(known)
                for field in arms:
                    field.choice = ""

    def _element(self, element: ElementParticle, *, optional: bool, choice: str) -> None:
        field = self._field_of(local_name(element.tag), element.tag, element.type, element.nillable)
        hint = replace(
            field.wire, minimum=element.minimum, maximum=element.maximum, empty=element.empty, fixed=element.fixed
        )
        field.wire, field.doc = hint, element.doc
        if hint.repeated:
            field.type = List(field.type, nullable=field.nullable)
            field.required = field.nullable = False
            field.default = UNSET if choice else []
            if optional and hint.minimum:
                field.wire = replace(hint, minimum=0)
        else:
            field.required = not optional and not choice and element.minimum >= 1
        field.choice = choice
        twin = next((known for known in self.fields if known.wire.tag == element.tag), None)
        if twin is None:
            self.append(field, "_2")
        elif not self._merge(twin, field, optional=optional or bool(choice)):
            raise element.document.error(
                element.node,
                f"the element {local_name(element.tag)!r} stands twice in {self._name}, and which one is meant could "
                "not be told; give one of them another name",
            )

    def _merge(self, twin: Field, field: Field, *, optional: bool) -> bool:
        """The same element in two arms of a choice is one field."""
        if not optional or twin.required or twin.type != field.type:
            return False
        for choice in (twin.choice, field.choice):
            self._relax(choice)
        twin.choice = ""
        return True

    def _relax(self, name: str) -> None:
        self.choices = [Choice(known.name) if known.name == name else known for known in self.choices]

    def _wildcard(self, wildcard: Wildcard, *, optional: bool, choice: str) -> None:
        hint = XmlHint(
            place=Place.WILDCARD, minimum=wildcard.minimum, maximum=wildcard.maximum, namespaces=wildcard.namespaces
        )
        if any(field.wire.place is Place.WILDCARD for field in self.fields):
            return  # the first one takes what the second would
        if hint.repeated:
            if optional:
                hint = replace(hint, minimum=0)
            self.append(Field("any", List(ANY), default=UNSET if choice else [], choice=choice, wire=hint), "_2")
        else:
            required = not optional and not choice and wildcard.minimum >= 1
            self.append(Field("any", ANY, required=required, choice=choice, wire=hint), "_2")

    def _group(self, group: Group, *, optional: bool, choice: str) -> None:
        if not group.items:
            return
        if group.maximum is None or group.maximum > 1:
            self._repeated(group, optional=optional, choice=choice)
        elif len(group.items) == 1:
            self.add(group.items[0], optional=optional or group.minimum == 0, choice=choice)
            if group.minimum == 0 and choice:
                self._relax(choice)
        elif group.kind == "choice":
            self._choice(group, optional=optional, choice=choice)
        else:
            if choice:
                # Several elements are one arm, which a Choice has no form for: they are optional.
                self._relax(choice)
            for item in group.items:
                self.add(item, optional=optional or bool(choice) or group.minimum == 0, choice="")

    def _choice(self, group: Group, *, optional: bool, choice: str) -> None:
        name = choice
        if not choice:
            number = len(self.choices) + 1
            name = "choice" if number == 1 else f"choice{number}"
            self.choices.append(Choice(name, required=not optional and group.minimum >= 1))
        elif group.minimum == 0:
            self._relax(name)
        for item in group.items:
            if not isinstance(item, Group) and item.minimum == 0:
                self._relax(name)
            self.add(item, optional=optional, choice=name)

    def _repeated(self, group: Group, *, optional: bool, choice: str) -> None:
        single = group.items[0] if len(group.items) == 1 else None
        if isinstance(single, ElementParticle | Wildcard):
            self.add(
                replace(single, minimum=0 if group.minimum == 0 else single.minimum, maximum=None),
                optional=optional,
                choice=choice,
            )
            return
        inner = Shape(self._field_of, f"{self._name}.{group.kind}")
        inner.add(replace(group, minimum=1, maximum=1), optional=False, choice="")
        inner.close()
        item = Record(inner._name, inner.fields, choices=inner.choices, wire=XmlRecord())
        hint = XmlHint(place=Place.GROUP, minimum=0 if optional or choice else group.minimum, maximum=group.maximum)
        self.append(Field(group.kind, List(item), default=UNSET if choice else [], choice=choice, wire=hint), "_2")
