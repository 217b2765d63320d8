"""The nodes of a parsed expression. `at` is the character of the source that errors point at, from 0."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Node:
    """Any node."""

    at: int

    def children(self) -> Iterator["Node"]:
        """Yield the nodes below it, from left to right."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Node):
                yield value
            elif isinstance(value, tuple):
                yield from (item for item in value if isinstance(item, Node))


@dataclass(frozen=True, slots=True)
class Constant(Node):
    """A literal: a number, a string, a boolean or nil."""

    value: Any


@dataclass(frozen=True, slots=True)
class Name(Node):
    """A variable, or a function by its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Pointer(Node):
    """`#`: the element that a predicate is evaluated for."""


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """`-x`, `not x`."""

    operator: str
    operand: Node


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """`a + b`."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Conditional(Node):
    """`a ? b : c`."""

    condition: Node
    then: Node
    otherwise: Node


@dataclass(frozen=True, slots=True)
class Member(Node):
    """`o.x`, `l[0]`, `o?.x`."""

    of: Node
    key: Node
    optional: bool


@dataclass(frozen=True, slots=True)
class Chain(Node):
    """Members with `?.` among them: nil if one of those is taken of nil."""

    whole: Node


@dataclass(frozen=True, slots=True)
class Slice(Node):
    """`l[a:b]`."""

    of: Node
    start: Node | None
    stop: Node | None


@dataclass(frozen=True, slots=True)
class Array(Node):
    """`[a, b]`."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Map(Node):
    """`{a: b}`: keys and values alternate."""

    pairs: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A call of something that is not a function of the language."""

    callee: Node
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Builtin(Node):
    """A call of a function of the language. The predicate among its arguments is evaluated for each element."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Sequence(Node):
    """`a; b`: the value of the last."""

    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Let(Node):
    """`let x = a; b`."""

    name: Name
    value: Node
    then: Node
