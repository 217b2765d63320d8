"""Parses the operands of an expression: literals, lists, objects, members and calls; `parser` is the rest."""

import math
from abc import ABC, abstractmethod

from rochallor_worker.devengine.expressions.functions import PREDICATES, SIGNATURES
from rochallor_worker.devengine.expressions.gotext import LocatedError, quoted
from rochallor_worker.devengine.expressions.lexer import Cursor, Token
from rochallor_worker.devengine.expressions.nodes import (
    Array,
    Builtin,
    Call,
    Chain,
    Constant,
    Map,
    Member,
    Name,
    Node,
    Pointer,
    Slice,
    Unary,
)

_UNARY = {"not": 50, "!": 50, "-": 90, "+": 90}
_CONSTANTS = {"true": True, "false": False, "nil": None}
_BASES = {"0x": (16, "hex"), "0b": (2, "binary"), "0o": (8, "octal")}
_INT64 = 1 << 63


class Operands(Cursor, ABC):
    """The parser's half for operands; a subclass parses the expressions inside them."""

    def __init__(self, source: str, shadowed: frozenset[str]) -> None:
        super().__init__(source)
        self._shadowed = shadowed
        self._predicates = 0

    @abstractmethod
    def sequence(self) -> Node:
        """Parse expressions with `;` between them."""

    @abstractmethod
    def expression(self, precedence: int = 0) -> Node:
        """Parse an expression up to an operator that binds weaker than `precedence`."""

    @abstractmethod
    def block(self) -> Node:
        """Parse a sequence in braces."""

    def primary(self) -> Node:
        """Parse an operand, with its unary operators and members."""
        token = self.token
        if token.kind == "Operator" and token.value in _UNARY:
            self._next()
            return self._members(Unary(token.at, token.value, self.expression(_UNARY[token.value])))
        if self._skip("Bracket", "("):
            node = self.sequence()
            self._expect("Bracket", ")")
            return self._members(node)
        if self._predicates and self._is("Operator", "#", "."):
            if token.value == "#":
                self._next()
            return self._members(Pointer(token.at))
        if self._skip("Operator", "::"):
            return self._members(self.call(self._expect("Identifier"), (), global_=True))
        return self._operand()

    def _operand(self) -> Node:
        token = self.token
        match token.kind:
            case "Identifier":
                self._next()
                if token.value in _CONSTANTS:
                    return Constant(token.at, _CONSTANTS[token.value])
                named = self.call(token, ()) if self._is("Bracket", "(") else Name(token.at, token.value)
                return self._members(named)
            case "Number":
                self._next()
                return Constant(token.at, _number(token.value.replace("_", ""), self.token.at))
            case "String":
                self._next()
                return self._members(Constant(token.at, token.value))
        if self._skip("Bracket", "["):
            return self._members(Array(token.at, self._list("]")))
        if self._skip("Bracket", "{"):
            return self._members(self._map(token.at))
        raise self.unexpected()

    def _list(self, end: str) -> tuple[Node, ...]:
        """Parse expressions with commas between them, and the bracket after them."""
        found: list[Node] = []
        while not self._is("Bracket", end):
            if found:
                self._expect("Operator", ",")
                if self._is("Bracket", end):
                    break
            found.append(self.expression())
        self._next()
        return tuple(found)

    def _map(self, at: int) -> Node:
        pairs: list[Node] = []
        while not self._is("Bracket", "}"):
            if pairs:
                self._expect("Operator", ",")
                if self._is("Bracket", "}"):
                    break
            pairs.append(self._key())
            self._expect("Operator", ":")
            pairs.append(self.expression())
        self._next()
        return Map(at, tuple(pairs))

    def _key(self) -> Node:
        if self.token.kind in {"Number", "String", "Identifier"}:
            token = self._next()
            return Constant(token.at, token.value)
        if self._is("Bracket", "("):
            return self.expression()
        wanted = "a map key must be a quoted string, a number, a identifier, or an expression enclosed in parentheses"
        raise LocatedError(f"{wanted} (unexpected token {self.token})", self.token.at)

    # what follows an operand

    def _members(self, node: Node) -> Node:
        chained = False
        while True:
            if self._is("Operator", ".", "?."):
                optional = self._next().value == "?."
                chained |= optional
                if optional and self._is("Bracket", "["):
                    node = self._indexed(node, optional=True)
                else:
                    node = self._named(node, optional=optional)
            elif self._is("Bracket", "["):
                node = self._indexed(node, optional=False)
            else:
                return Chain(node.at, node) if chained else node

    def _named(self, node: Node, *, optional: bool) -> Node:
        token = self._next()
        if token.kind != "Identifier" and not (token.kind == "Operator" and token.value.isalpha()):
            raise LocatedError("expected name", self.token.at)
        member = Member(token.at, node, Constant(token.at, token.value), optional)
        return Call(token.at, member, self._list(")")) if self._skip("Bracket", "(") else member

    def _indexed(self, node: Node, *, optional: bool) -> Node:
        at = self._next().at
        start = None if self._is("Operator", ":") else self.expression()
        if start is not None and not self._is("Operator", ":"):
            self._expect("Bracket", "]")
            return Member(at, node, start, optional)
        self._expect("Operator", ":")
        stop = None if self._is("Bracket", "]") else self.expression()
        self._expect("Bracket", "]")
        return Slice(at, node, start, stop)

    # calls

    def call(self, token: Token, piped: tuple[Node, ...], *, global_: bool = False) -> Node:
        """Parse the arguments of the function that `token` names; `piped` come before them."""
        name = token.value
        self._expect("Bracket", "(")
        if name in self._shadowed and not global_:
            return Call(token.at, Name(token.at, name), piped + self._list(")"))
        if name in PREDICATES:
            return Builtin(token.at, name, self._with_predicate(name, piped))
        if name in SIGNATURES:
            return Builtin(token.at, name, piped + self._list(")"))
        return Call(token.at, Name(token.at, name), piped + self._list(")"))

    def _with_predicate(self, name: str, arguments: tuple[Node, ...]) -> tuple[Node, ...]:
        """Parse the arguments of a function whose second one is a predicate."""
        required, most = PREDICATES[name]
        first = len(arguments)
        for index in range(first, most):
            if self._is("Bracket", ")"):
                if index < required:
                    raise LocatedError(f"expected at least {most - first} arguments", self.token.at)
                break
            if index > first:
                self._expect("Operator", ",")
            arguments += (self._predicate() if index == 1 else self.expression(),)
        self._skip("Operator", ",")
        self._expect("Bracket", ")")
        return arguments

    def _predicate(self) -> Node:
        self._predicates += 1
        node = self.block() if self._is("Bracket", "{") else self.expression()
        self._predicates -= 1
        return node


def _number(text: str, at: int) -> int | float:
    """Return the value of a literal. Errors point `at` the token after it, as the engine's do."""
    base, kind = _BASES.get(text[:2].lower(), (10, "integer"))
    if base == 10 and not text.isdigit():
        return _float(text, at)
    digits = text if base == 10 else text[2:]
    if not digits:
        raise _bad_number(kind, "ParseInt", text, "invalid syntax", at)
    if len(digits) > 64 or (number := int(digits, base)) >= _INT64:
        raise _bad_number(kind, "ParseInt", text, "value out of range", at)
    return number


def _float(text: str, at: int) -> float:
    try:
        number = float(text)
    except ValueError:
        raise _bad_number("float", "ParseFloat", text, "invalid syntax", at) from None
    if math.isinf(number):
        raise _bad_number("float", "ParseFloat", text, "value out of range", at)
    return number


def _bad_number(kind: str, function: str, text: str, problem: str, at: int) -> LocatedError:
    message = f"invalid {kind} literal: strconv.{function}: parsing {quoted(text)}: {problem}"
    return LocatedError(message, at)
