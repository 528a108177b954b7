"""What a document may ask for, judged before anything that takes more than linear time."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableDefinitionNode,
)

from gateway.codecs.graphql.error import LIMIT_EXCEEDED, VALIDATION_FAILED, RequestError, error

CALL_COST: Final = 10
DIRECTIVES: Final = 50
FRAGMENTS: Final = 100  # spread or inline: validation compares each with each
DEFINITIONS: Final = 100
COMMENTS: Final = 1000
_INTROSPECTION: Final = ("__schema", "__type")


@dataclass(frozen=True, slots=True)
class Limits:
    """Of tokens, levels of selection, aliases, and fields that an operation selects."""

    tokens: int
    depth: int
    aliases: int
    cost: int


def check(document: DocumentNode, limits: Limits) -> None:
    """Raises RequestError for a document over the limits, and for fragments that contain themselves."""
    _Checker(document, limits).check()


class _Checker:
    def __init__(self, document: DocumentNode, limits: Limits) -> None:
        self._document = document
        self._limits = limits
        self._fragments = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._known: dict[str, tuple[int, int]] = {}
        self._open: list[str] = []
        self._aliases = self._directives = self._spreads = 0

    def check(self) -> None:
        if len(self._document.definitions) > DEFINITIONS:
            raise _over(f"a document may have {DEFINITIONS} definitions", len(self._document.definitions))
        for node in self._document.definitions:
            match node:
                case OperationDefinitionNode():
                    self._direct(node.directives or ())
                    self._variables(node.variable_definitions or ())
                    depth, cost = self._measure(node.selection_set)
                    cost += CALL_COST * sum(isinstance(one, FieldNode) for one in node.selection_set.selections)
                case FragmentDefinitionNode():
                    depth, cost = self._fragment(node.name.value)
                case _:
                    continue
            if depth > self._limits.depth:
                raise _over(f"a selection may be {self._limits.depth} levels deep", depth)
            if cost > self._limits.cost:
                raise _over(f"an operation may cost {self._limits.cost}", cost)

    def _variables(self, variables: "tuple[VariableDefinitionNode, ...]") -> None:
        for variable in variables:
            self._direct(variable.directives or ())

    def _direct(self, directives: tuple[object, ...]) -> None:
        self._directives += len(directives)
        if self._directives > DIRECTIVES:
            raise _over(f"a document may have {DIRECTIVES} directives")

    def _measure(self, selections: SelectionSetNode | None) -> tuple[int, int]:
        """(depth, cost) of a selection set."""
        if selections is None:
            return 0, 0
        deepest = total = 0
        names: Counter[str] = Counter()
        for node in selections.selections:
            self._direct(node.directives or ())
            match node:
                case FieldNode():
                    depth, cost = self._measure(node.selection_set)
                    cost += 1
                    depth = 0 if node.name.value in _INTROSPECTION else depth + 1
                    self._alias(node, names)
                case FragmentSpreadNode():
                    self._spread()
                    depth, cost = self._fragment(node.name.value)
                case InlineFragmentNode():
                    self._spread()
                    depth, cost = self._measure(node.selection_set)
                case _:
                    continue
            deepest, total = max(deepest, depth), total + cost
        return deepest, total

    def _spread(self) -> None:
        self._spreads += 1
        if self._spreads > FRAGMENTS:
            raise _over(f"a document may spread {FRAGMENTS} fragments")

    def _alias(self, node: FieldNode, names: "Counter[str]") -> None:
        name = node.alias.value if node.alias else node.name.value
        names[name] += 1
        self._aliases += node.alias is not None or names[name] > 1
        if self._aliases > self._limits.aliases:
            raise _over(f"a document may have {self._limits.aliases} aliases and repeated fields")

    def _fragment(self, name: str) -> tuple[int, int]:
        """Each is measured once, however often it is spread."""
        known = self._known.get(name)
        if known is not None:
            return known
        if name in self._open:
            raise RequestError([error(f"the fragment {name[:100]} contains itself", VALIDATION_FAILED)])
        fragment = self._fragments.get(name)
        if fragment is None:
            return 0, 0  # validation says so
        self._open.append(name)
        self._direct(fragment.directives or ())
        measured = self._known[name] = self._measure(fragment.selection_set)
        self._open.pop()
        return measured


def _over(rule: str, found: int | None = None) -> RequestError:
    shown = "" if found is None else f", this one has {found}" if found < 10**6 else ", this one has far more"
    return RequestError([error(f"{rule}{shown}", LIMIT_EXCEEDED)])
