"""The grammar of expr-lang 1.17, by precedence climbing (contract: `workflow.md`, "Expressions").

This is the part with operators; `operands` has what stands between them.
"""

from functools import lru_cache

from rochallor_worker.devengine.expressions.gotext import LocatedError
from rochallor_worker.devengine.expressions.lexer import Token
from rochallor_worker.devengine.expressions.nodes import Binary, Conditional, Let, Name, Node, Sequence, Unary
from rochallor_worker.devengine.expressions.operands import Operands

_BINARY = {
    "|": 0,
    **dict.fromkeys(("or", "||"), 10),
    **dict.fromkeys(("and", "&&"), 15),
    **dict.fromkeys(("==", "!=", "<", ">", ">=", "<=", "in", "matches", "contains", "startsWith", "endsWith"), 20),
    "..": 25,
    **dict.fromkeys(("+", "-"), 30),
    **dict.fromkeys(("*", "/", "%"), 60),
    **dict.fromkeys(("**", "^"), 100),
    "??": 500,
}
_FROM_THE_RIGHT = {"**", "^"}
_COMPARISONS = {"<", ">", ">=", "<="}
_NEGATED = {"in", "matches", "contains", "startsWith", "endsWith"}


@lru_cache(maxsize=1024)
def parse(source: str, shadowed: frozenset[str]) -> Node:
    """Return the parsed source; the variables `shadowed` hide functions of the same name. Raises `LocatedError`."""
    parser = _Parser(source, shadowed)
    node = parser.sequence()
    if parser.token.kind != "EOF":
        raise parser.unexpected()
    return node


class _Parser(Operands):
    def sequence(self) -> Node:
        """Parse expressions with `;` between them."""
        found = [self.expression()]
        while self._skip("Operator", ";") and not self._is("EOF") and not self._is("Bracket", ")", "}"):
            found.append(self.expression())
        return found[0] if len(found) == 1 else Sequence(found[0].at, tuple(found))

    def expression(self, precedence: int = 0) -> Node:
        if precedence == 0 and self._is("Operator", "let"):
            return self._let()
        if precedence == 0 and self._is("Operator", "if"):
            return self._if()
        node = self.primary()
        before = ""
        while self.token.kind == "Operator":
            token, negated = self.token, self.token.value == "not"
            if negated:
                if precedence > _BINARY["in"]:
                    break
                token = self._negated_operator()
            binds = _BINARY.get(token.value, -1)
            if binds < precedence:
                break
            self._next()
            if before == "??" and token.value not in {"??", "|"}:
                message = f"Operator ({token.value}) and coalesce expressions (??) cannot be mixed. "
                raise LocatedError(message + "Wrap either by parentheses.", token.at)
            node = self._operation(node, token, binds)
            if negated:
                node = Unary(token.at, "not", node)
            before = token.value
        return self._conditional(node) if precedence == 0 else node

    def _negated_operator(self) -> Token:
        """Skip the `not` of `not in`, `not matches` and so on; return the operator after it."""
        self._next()
        if not self._is("Operator", *_NEGATED):
            raise self.unexpected()
        return self.token

    def _operation(self, left: Node, token: Token, binds: int) -> Node:
        operator = token.value
        if operator == "|":
            return self.call(self._expect("Identifier"), (left,))
        if operator in _COMPARISONS:
            return self._comparison(left, token, binds)
        return Binary(token.at, operator, left, self.expression(binds + (operator not in _FROM_THE_RIGHT)))

    def _comparison(self, left: Node, token: Token, binds: int) -> Node:
        """Parse `a < b`, or `a < b < c`, which is `a < b && b < c`."""
        whole: Node | None = None
        while True:
            right = self.expression(binds + 1)
            one = Binary(token.at, token.value, left, right)
            whole = one if whole is None else Binary(token.at, "&&", whole, one)
            if not self._is("Operator", *_COMPARISONS):
                return whole
            left, token = right, self._next()

    def _conditional(self, node: Node) -> Node:
        while self._is("Operator", "?"):
            at = self._next().at
            if self._skip("Operator", ":"):
                then = node
            else:
                then = self.expression()
                self._expect("Operator", ":")
            node = Conditional(at, node, then, self.expression())
        return node

    def _let(self) -> Node:
        """Parse a declaration, which the engine refuses later: its name counts as undefined."""
        self._next()
        name = self._expect("Identifier")
        self._expect("Operator", "=")
        value = self.expression()
        self._expect("Operator", ";")
        return Let(name.at, Name(name.at, name.value), value, self.sequence())

    def _if(self) -> Node:
        at = self._next().at
        condition = self.expression()
        then = self.block()
        self._expect("Operator", "else")
        return Conditional(at, condition, then, self._if() if self._is("Operator", "if") else self.block())

    def block(self) -> Node:
        self._expect("Bracket", "{")
        node = self.sequence()
        self._expect("Bracket", "}")
        return node
