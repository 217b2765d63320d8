"""Mutants of a module, each with one small change that its tests must notice.

What is only for people is left as it is: log lines, and messages.
"""

import ast
from collections.abc import Iterator
from copy import copy
from types import CodeType
from typing import Any, NamedTuple

SWAPPED: dict[type[ast.AST], tuple[type[ast.AST], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.And: (ast.Or,),
    ast.Or: (ast.And,),
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.Pow: (ast.Mult,),
    ast.BitOr: (ast.BitAnd,),
}
CALLED = {"min": "max", "max": "min", "any": "all", "all": "any"}


class Mutant(NamedTuple):
    """`name` says what was changed, and stays the same when other lines change."""

    name: str
    code: CodeType


class _Place(NamedTuple):
    """A node, and where it hangs: in a list, or as an attribute."""

    node: ast.AST
    holder: Any
    at: Any
    function: str
    statement: ast.stmt

    def put(self, node: ast.AST) -> None:
        if isinstance(self.holder, list):
            self.holder[self.at] = node
        else:
            setattr(self.holder, self.at, node)


def mutants(source: str, file: str) -> Iterator[Mutant]:
    """Yield each mutant of a module's source."""
    tree = ast.parse(source)
    names: dict[str, int] = {}
    for place in list(_places(tree, "", ast.Pass())):
        for other in _others(place.node):
            before = _line(place.statement)
            place.put(ast.copy_location(other, place.node))
            after = _line(other if place.node is place.statement else place.statement)
            code = compile(ast.fix_missing_locations(tree), file, "exec")
            place.put(place.node)
            name = f"{place.function}: {before} → {after}"
            names[name] = names.get(name, 0) + 1
            yield Mutant(name if names[name] == 1 else f"{name} ({names[name]})", code)


def _line(statement: ast.AST) -> str:
    """Return a statement's text; of one with a body, the head."""
    bare = copy(statement)
    for part in ("body", "orelse", "finalbody", "handlers", "decorator_list"):
        if isinstance(getattr(bare, part, None), list):
            setattr(bare, part, [])
    return ast.unparse(bare).strip() or "pass"


def _places(node: ast.AST, function: str, statement: ast.stmt) -> Iterator[_Place]:
    in_class = isinstance(node, ast.ClassDef)
    for field, value in ast.iter_fields(node):
        if field in {"annotation", "returns", "decorator_list", "bases", "type_params"}:
            continue
        nodes = (
            [(value, at, child) for at, child in enumerate(value)]
            if isinstance(value, list)
            else [(node, field, value)]
        )
        for holder, at, child in nodes:
            if not isinstance(child, ast.AST) or _for_people(child):
                continue
            if in_class and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue  # a class reads the defaults of its fields when it is created
            own = child if isinstance(child, ast.stmt) else statement
            name = function
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = f"{function}.{child.name}".lstrip(".")
            yield _Place(child, holder, at, name, own)
            yield from _places(child, name, own)


def _for_people(node: ast.AST) -> bool:
    """Whether a node is only for people, or for the type checker."""
    match node:
        case (
            ast.Expr(ast.Constant())
            | ast.JoinedStr()
            | ast.Import()
            | ast.ImportFrom()
            | ast.If(ast.Name("TYPE_CHECKING"))
        ):
            return True
        case ast.Expr(ast.Call(ast.Attribute(ast.Name("log") | ast.Attribute(attr="log")))):
            return True
    return False


def _others(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what a node is replaced by, one at a time."""
    yield from _undone(node)
    yield from _unguarded(node)
    yield from _decided(node)
    yield from _changed(node)
    for other in SWAPPED.get(type(node), ()):
        yield other()


def _undone(node: ast.AST) -> Iterator[ast.AST]:
    """Leave a statement out, or a result."""
    match node:
        case ast.Expr(ast.Await(ast.Call()) | ast.Call()):
            yield ast.Pass()
        case ast.Assign([ast.Attribute() | ast.Subscript(), *_]) | ast.AugAssign() | ast.Delete():
            yield ast.Pass()
        case ast.Raise() | ast.Continue() | ast.Break():
            yield ast.Pass()
        case ast.Return(ast.expr() as value) if not isinstance(value, ast.Constant):
            yield ast.Return(None)


def _unguarded(node: ast.AST) -> Iterator[ast.AST]:
    """Leave out the statement around a block."""
    match node:
        case ast.Try(finalbody=[_, *_]) if node.handlers:
            yield ast.Try(node.body, node.handlers, node.orelse, [])
        case ast.Try(finalbody=[_, *_]):
            yield ast.If(ast.Constant(True), node.body, [])
        case ast.With() | ast.AsyncWith() if node.items[0].optional_vars is None:
            rest = node.items[1:]
            yield type(node)(rest, node.body) if rest else ast.If(ast.Constant(True), node.body, [])


def _decided(node: ast.AST) -> Iterator[ast.AST]:
    """Take a condition for true, or for false."""
    match node:
        case ast.If() | ast.IfExp():
            for always in (True, False):
                changed = copy(node)
                changed.test = ast.Constant(always)
                yield changed
        case ast.While(test=test) if not isinstance(test, ast.Constant):
            yield ast.While(ast.Constant(False), node.body, node.orelse)
        case ast.comprehension(ifs=[_, *_]):
            yield ast.comprehension(node.target, node.iter, [], node.is_async)
        case ast.UnaryOp(ast.Not()):
            yield node.operand


def _changed(node: ast.AST) -> Iterator[ast.AST]:
    """Take another value or function."""
    match node:
        case ast.Call(ast.Name(name)) if name in CALLED:
            yield ast.Call(ast.Name(CALLED[name], ast.Load()), node.args, node.keywords)
        case ast.Constant(bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(str(text)) if " " not in text:
            yield ast.Constant(text + "_")
