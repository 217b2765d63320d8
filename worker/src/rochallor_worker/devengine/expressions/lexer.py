"""From text to tokens: the engine's rewrite of an expression (contract: `workflow.md`), then expr-lang's lexer."""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from rochallor_worker.devengine.expressions.gotext import LocatedError, quoted

Kind = Literal["Identifier", "Number", "String", "Operator", "Bracket", "EOF"]

_HASH_NAME = re.compile(r"#([A-Za-z0-9_.:\-]+)")
_SINGLE_QUOTED = re.compile(r"'([^']*)'")
_CONTAINS = re.compile(r"\bcontains\(([^,()]+),([^,()]+)\)")
_WORDS = frozenset(
    {"not", "in", "or", "and", "matches", "contains", "startsWith", "endsWith", "let", "if", "else"},
)
_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
      | (?P<unclosed>/\*)
      | (?P<number>(?:0[xX][0-9a-fA-F_]*|0[oO][0-7_]*|0[bB][01_]*
                    |[0-9][0-9_]*(?:\.(?!\.)[0-9_]*)?(?:[eE][+-]?[0-9_]*)?
                    |\.[0-9][0-9_]*(?:[eE][+-]?[0-9_]*)?)(?P<tail>[\w$]?))
      | (?P<word>[^\W\d][\w$]*|\$[\w$]*)
      | (?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<raw>`(?:[^`]|``)*`)
      | (?P<open>["'`])
      | (?P<bracket>[()\[\]{}])
      | (?P<operator>\|\|?|::?|\.\.?|\?[.?]?|[&!=*<>][&=*]?|[#,;%+\-^/])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL)
_ESCAPED = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ESCAPED |= {char: char for char in "\\'\"`?"}
_LAST_CHARACTER = 0x10FFFF


def rewrite(expression: str) -> str:
    """Return the source that the engine parses. Raises `LocatedError` for a `${` without `}` after it.

    The engine's rewrite does not know string literals, so it changes what is in them as well.
    """
    source = _without_braces(expression)
    source = _HASH_NAME.sub(r"\1", source)
    source = _SINGLE_QUOTED.sub(r'"\1"', source)
    return _CONTAINS.sub(lambda found: f"({found[2].strip()}) in ({found[1].strip()})", source).strip()


def _without_braces(expression: str) -> str:
    before, *parts = expression.split("${")
    found = [before]
    for part in parts:
        inner, end, rest = part.partition("}")
        if not end:
            raise LocatedError("unterminated '${' in expression")
        found.append(f"({inner}){rest}")
    return "".join(found)


class Token(NamedTuple):
    """One token, and the character at which it starts, from 0."""

    kind: Kind
    value: str
    at: int

    def __str__(self) -> str:
        return f"{self.kind}({quoted(self.value)})" if self.value else self.kind


def tokens(source: str) -> Iterator[Token]:
    """Yield the tokens, EOF last. Raises `LocatedError` at a character that starts none."""
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            raise LocatedError(f"unrecognized character: U+{ord(source[at]):04X} {source[at]!r}", at)
        if (token := _token(match)) is not None:
            yield token
        at = match.end()
    yield Token("EOF", "", max(len(source) - 1, 0))


_KINDS: dict[str | None, Kind] = {"string": "String", "raw": "String", "bracket": "Bracket", "operator": "Operator"}
_PROBLEMS: dict[str | None, str] = {"unclosed": "unclosed comment", "open": "literal not terminated"}


def _token(match: re.Match[str]) -> Token | None:
    text, at, group = match[0], match.start(), match.lastgroup
    if group == "space":
        return None
    if group in _PROBLEMS:
        raise LocatedError(_PROBLEMS[group], at)
    if group == "number":
        if match["tail"]:
            raise LocatedError(f"bad number syntax: {quoted(text)}", at)
        return Token("Number", text, at)
    if group == "word":
        return Token("Operator" if text in _WORDS else "Identifier", text, at)
    if group == "string":
        text = _unescaped(text[1:-1], at)
    elif group == "raw":
        text = text[1:-1].replace("``", "`")
    return Token(_KINDS[group], text, at)


def _unescaped(text: str, at: int) -> str:
    def character(found: re.Match[str]) -> str:
        *numbers, plain = found.groups()
        if plain is not None:
            if plain not in _ESCAPED:
                raise LocatedError("invalid char escape", at)
            return _ESCAPED[plain]
        number = next(int(digits, base) for digits, base in zip(numbers, (16, 16, 16, 8), strict=True) if digits)
        if number > _LAST_CHARACTER or 0xD800 <= number <= 0xDFFF:
            raise LocatedError("invalid char escape", at)
        return chr(number)

    return _ESCAPE.sub(character, text)


class Cursor:
    """A position in the tokens of a source; `token` is the current one."""

    def __init__(self, source: str) -> None:
        self._tokens = tokens(source)
        self.token = next(self._tokens)

    def _next(self) -> Token:
        """Move to the next token; return the one that was current."""
        token = self.token
        self.token = next(self._tokens, token)
        return token

    def _is(self, kind: Kind, *values: str) -> bool:
        return self.token.kind == kind and (not values or self.token.value in values)

    def _skip(self, kind: Kind, *values: str) -> bool:
        found = self._is(kind, *values)
        if found:
            self._next()
        return found

    def _expect(self, kind: Kind, *values: str) -> Token:
        if not self._is(kind, *values):
            raise self.unexpected()
        return self._next()

    def unexpected(self) -> LocatedError:
        """Return the error for the current token."""
        return LocatedError(f"unexpected token {self.token}", self.token.at)
