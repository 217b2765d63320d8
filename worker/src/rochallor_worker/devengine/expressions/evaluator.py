"""Evaluates a parsed expression, within a budget: what it may read and build is limited."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from rochallor_worker.devengine.expressions import nodes, values
from rochallor_worker.devengine.expressions.functions import FUNCTIONS, PREDICATES, WITH_PREDICATE
from rochallor_worker.devengine.expressions.functions.conversions import moment
from rochallor_worker.devengine.expressions.functions.predicates import elements
from rochallor_worker.devengine.expressions.gotext import LocatedError, type_name
from rochallor_worker.devengine.expressions.regexp import search

BUDGET = 1_000_000
"""How many nodes are evaluated, and elements and characters made, before the evaluation fails."""


class Function(NamedTuple):
    """A function used as a value."""

    name: str


class Evaluation:
    """One evaluation, with these variables, at `now` in epoch seconds."""

    def __init__(self, variables: Mapping[str, Any], now: float) -> None:
        self._variables = variables
        self._now = now
        self._left = BUDGET
        self._elements: list[Any] = []

    def of(self, node: nodes.Node) -> Any:
        """Return the value of a node. Raises `LocatedError` with the place, and `RecursionError`."""
        self.spend(1)
        try:
            return self._EVALUATED[type(node)](self, node)
        except LocatedError as error:
            if error.at is None:
                error.at = node.at
            raise

    def spend(self, amount: int) -> None:
        """Take from the budget. Raises `LocatedError` when it is used up."""
        self._left -= amount
        if self._left < 0:
            raise LocatedError("memory budget exceeded")

    def _pay_for(self, value: Any) -> None:
        """Pay for reading a value."""
        if isinstance(value, str | list | dict):
            self.spend(values.weight(value, self._left))

    # operands

    def _constant(self, node: nodes.Constant) -> Any:
        return node.value

    def _name(self, node: nodes.Name) -> Any:
        return self._variables[node.name] if node.name in self._variables else Function(node.name)

    def _pointer(self, _node: nodes.Pointer) -> Any:
        return self._elements[-1]

    def _array(self, node: nodes.Array) -> Any:
        return [self.of(item) for item in node.items]

    def _map(self, node: nodes.Map) -> Any:
        found = [self.of(item) for item in node.pairs]
        return dict(zip(map(values.text, found[::2]), found[1::2], strict=True))

    # operators

    def _unary(self, node: nodes.Unary) -> Any:
        operand = self.of(node.operand)
        if node.operator == "-":
            return values.negative(operand)
        return operand if node.operator == "+" else not values.truth(operand)

    def _binary(self, node: nodes.Binary) -> Any:
        left = self.of(node.left)
        match node.operator:
            case "and" | "&&":
                return values.truth(left) and values.truth(self.of(node.right))
            case "or" | "||":
                return values.truth(left) or values.truth(self.of(node.right))
            case "??":
                return self.of(node.right) if left is None else left
        right = self.of(node.right)
        if node.operator == "..":
            return self._range(values.to_int(left), values.to_int(right))
        self._pay_for(left)
        self._pay_for(right)
        if node.operator == "matches":
            return left is not None and right is not None and search(values.text(right), values.text(left), self.spend)
        return values.OPERATORS[node.operator](left, right)

    def _range(self, first: int, last: int) -> list[int]:
        self.spend(max(last - first + 1, 0))
        return list(range(first, last + 1))

    def _conditional(self, node: nodes.Conditional) -> Any:
        return self.of(node.then if values.truth(self.of(node.condition)) else node.otherwise)

    def _sequence(self, node: nodes.Sequence) -> Any:
        return [self.of(item) for item in node.items][-1]

    def _let(self, node: nodes.Let) -> Any:
        raise LocatedError(f"cannot redeclare variable {node.name.name}")

    # members

    def _member(self, node: nodes.Member) -> Any:
        of = self.of(node.of)
        if node.optional and of is None:
            raise _NilChain
        return values.member(of, self.of(node.key))

    def _chain(self, node: nodes.Chain) -> Any:
        try:
            return self.of(node.whole)
        except _NilChain:
            return None

    def _slice(self, node: nodes.Slice) -> Any:
        of = self.of(node.of)
        start, stop = (None if end is None else self.of(end) for end in (node.start, node.stop))
        found = values.part(of, start, stop)
        self.spend(len(found))
        return found

    # calls

    def _call(self, node: nodes.Call) -> Any:
        callee = self.of(node.callee)
        raise LocatedError(f"invalid operation: cannot call non-function (type {type_name(callee)})")

    def _builtin(self, node: nodes.Builtin) -> Any:
        if node.name in PREDICATES:
            return self._with_predicate(node)
        arguments = [self.of(argument) for argument in node.arguments]
        for argument in arguments:
            self._pay_for(argument)
        if node.name == "now":
            return moment(self._now)
        result = FUNCTIONS[node.name](self.spend, *arguments)
        if isinstance(result, str | list):
            self.spend(len(result) // 16)
        return result

    def _with_predicate(self, node: nodes.Builtin) -> Any:
        of, *rest = node.arguments
        found = elements(self.of(of))
        self.spend(len(found))
        predicate = (lambda: self.of(rest[0])) if rest else (lambda: self._elements[-1])
        further = [self.of(argument) for argument in rest[1:]]
        return WITH_PREDICATE[node.name](found, self._each(found, predicate), *further)

    def _each(self, elements: Iterable[Any], predicate: Callable[[], Any]) -> Iterator[Any]:
        """Yield the result of a predicate for each element."""
        for element in elements:
            self._elements.append(element)
            try:
                result = predicate()
            finally:
                self._elements.pop()
            yield result

    _EVALUATED: ClassVar[dict[type[nodes.Node], Callable[["Evaluation", Any], Any]]] = {
        nodes.Constant: _constant,
        nodes.Name: _name,
        nodes.Pointer: _pointer,
        nodes.Array: _array,
        nodes.Map: _map,
        nodes.Unary: _unary,
        nodes.Binary: _binary,
        nodes.Conditional: _conditional,
        nodes.Sequence: _sequence,
        nodes.Let: _let,
        nodes.Member: _member,
        nodes.Chain: _chain,
        nodes.Slice: _slice,
        nodes.Call: _call,
        nodes.Builtin: _builtin,
    }


class _NilChain(Exception):  # noqa: N818 — not an error: the value of the chain is nil
    """A `?.` was taken of nil."""
