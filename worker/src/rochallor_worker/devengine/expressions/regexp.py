r"""Regular expressions in time linear in the text, as in Go; Python's own may take forever.

Supported are literals, `.`, classes, `\d \w \s` and their opposites, groups, `|`, `* + ? {m,n}`, `^ $ \b \B`, and the
flags i and s at the start: what the conditions of workflows use.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from rochallor_worker.devengine.expressions.gotext import LocatedError

Matches = Callable[[str], bool]
Emit = Callable[["Program", int], int]
"""Add the states of a piece of a pattern before a state; return the first of them."""

MOST_STATES = 10_000
_MOST_REPEATS = 1000
_REPEAT = re.compile(r"\{(\d{1,4})(,?)(\d{0,4})\}")
_FLAGS = re.compile(r"\(\?([is]+)\)")
_CLASS = re.compile(r"\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]", re.DOTALL)
_POSIX = {"alpha": "a-zA-Z", "digit": "0-9", "alnum": "0-9a-zA-Z", "upper": "A-Z", "lower": "a-z", "space": r"\s"}
_POSIX |= {"word": r"\w", "xdigit": "0-9a-fA-F", "punct": r"!-/:-@\[-`{-~"}
_CONTROL = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}
_WORD = re.compile(r"\w", re.ASCII)


@dataclass(slots=True)
class _State:
    """Consumes a character that it `matches`; without `matches`, goes on to each of `after` if the position is `at`."""

    after: tuple[int, ...]
    matches: Matches | None = None
    at: str = ""


class Program:
    """The states of a pattern; the first one made is the final one."""

    def __init__(self) -> None:
        self.states = [_State(())]
        self.start = 0

    def add(self, state: _State) -> int:
        """Add a state; return its number."""
        if len(self.states) == MOST_STATES:
            raise LocatedError("error parsing regexp: expression nests too deeply")
        self.states.append(state)
        return len(self.states) - 1

    def reached(self, states: set[int], text: str, at: int) -> set[int]:
        """Return all states that can be reached at a position without consuming a character."""
        found: set[int] = set()
        ahead = list(states)
        while ahead:
            number = ahead.pop()
            state = self.states[number]
            if number in found or (state.at and not _is_at(state.at, text, at)):
                continue
            found.add(number)
            if state.matches is None:
                ahead += state.after
        return found

    def consumed(self, states: set[int], character: str) -> set[int]:
        """Return the states after a character is consumed."""
        found: set[int] = set()
        for number in states:
            state = self.states[number]
            if state.matches is not None and state.matches(character):
                found.update(state.after)
        return found


def search(pattern: str, text: str, spend: Callable[[int], None]) -> bool:
    """Whether a pattern matches somewhere in a text. Raises `LocatedError` for an unsupported pattern."""
    program = _compiled(pattern)
    states: set[int] = set()
    for at in range(len(text) + 1):
        states = program.reached(states | {program.start}, text, at)
        spend(len(states))
        if 0 in states:
            return True
        if at < len(text):
            states = program.consumed(states, text[at])
    return False


def _is_at(what: str, text: str, at: int) -> bool:
    if what in "^$":
        return at == (0 if what == "^" else len(text))
    beside = [bool(_WORD.match(text[place])) if 0 <= place < len(text) else False for place in (at - 1, at)]
    return (beside[0] != beside[1]) == (what == "b")


@lru_cache(maxsize=128)
def _compiled(pattern: str) -> Program:
    flags = _FLAGS.match(pattern)
    reader = _Reader(pattern, flags[1] if flags else "", flags.end() if flags else 0)
    emit = reader.alternatives()
    if reader.at < len(pattern):
        raise reader.error("unexpected )")
    program = Program()
    program.start = emit(program, 0)
    return program


class _Reader:
    def __init__(self, pattern: str, flags: str, at: int) -> None:
        self._pattern = pattern
        self._ignore_case = "i" in flags
        self._any = "." if "s" in flags else "[^\n]"
        self.at = at

    def error(self, problem: str) -> LocatedError:
        """Return the error for this problem in the pattern."""
        return LocatedError(f"error parsing regexp: {problem}: `{self._pattern}`")

    def alternatives(self) -> Emit:
        """Read up to the end or the `)` of the group."""
        found = [self._sequence()]
        while self._skip("|"):
            found.append(self._sequence())

        def emit(program: Program, after: int) -> int:
            starts = tuple(one(program, after) for one in found)
            return starts[0] if len(starts) == 1 else program.add(_State(starts))

        return emit

    def _sequence(self) -> Emit:
        found: list[Emit] = []
        while self.at < len(self._pattern) and self._pattern[self.at] not in "|)":
            found.append(self._repeated(self._one()))

        def emit(program: Program, after: int) -> int:
            for one in reversed(found):
                after = one(program, after)
            return after

        return emit

    def _skip(self, text: str) -> bool:
        found = self._pattern.startswith(text, self.at)
        self.at += len(text) if found else 0
        return found

    def _repeated(self, one: Emit) -> Emit:
        while True:
            counted = _REPEAT.match(self._pattern, self.at)
            if counted:
                self.at = counted.end()
                least = int(counted[1])
                most = None if counted[2] and not counted[3] else int(counted[3] or least)
                if max(least, most or 0) > _MOST_REPEATS or (most is not None and most < least):
                    raise self.error("invalid repeat count")
            elif self._pattern[self.at : self.at + 1] in {"*", "+", "?"}:
                sign = self._pattern[self.at]
                self.at += 1
                least, most = int(sign == "+"), 1 if sign == "?" else None
            else:
                return one
            self._skip("?")  # the shortest match is a match too
            one = _times(one, least, most)

    def _one(self) -> Emit:
        character = self._pattern[self.at]
        self.at += 1
        match character:
            case "(":
                if self._skip("?") and not self._skip(":"):
                    name = re.compile(r"P?<\w+>").match(self._pattern, self.at)
                    if not name:
                        raise self.error("invalid or unsupported Perl syntax")
                    self.at = name.end()
                inner = self.alternatives()
                if not self._skip(")"):
                    raise self.error("missing closing )")
                return inner
            case "*" | "+" | "?":
                raise self.error("missing argument to repetition operator")
            case "^" | "$":
                return lambda program, after: program.add(_State((after,), at=character))
            case "[":
                return self._class()
            case ".":
                return self._character(self._any)
            case "\\":
                return self._escaped()
        return self._character(re.escape(character))

    def _class(self) -> Emit:
        found = _CLASS.match(self._pattern, self.at - 1)
        if not found:
            raise self.error("missing closing ]")
        self.at = found.end()
        inner = re.sub(r"\[:(\w+):\]", lambda posix: _POSIX.get(posix[1], posix[0]), found[0][1:-1])
        return self._character(
            f"[{inner.replace('[', chr(92) + '[')}]" if "[" in inner and "\\[" not in inner else f"[{inner}]"
        )

    def _escaped(self) -> Emit:
        character = self._pattern[self.at : self.at + 1]
        self.at += 1
        if character in {"b", "B"}:
            return lambda program, after: program.add(_State((after,), at=character))
        if character in {"A", "z"}:
            place = "^" if character == "A" else "$"
            return lambda program, after: program.add(_State((after,), at=place))
        if character and character in "dDwWsS":
            return self._character(f"\\{character}")
        if character in _CONTROL:
            return self._character(re.escape(_CONTROL[character]))
        if not character or character.isalnum():
            raise self.error("invalid escape sequence")
        return self._character(re.escape(character))

    def _character(self, one: str) -> Emit:
        """Return what consumes one character that a Python pattern matches."""
        try:
            known = re.compile(one, (re.IGNORECASE if self._ignore_case else 0) | re.DOTALL | re.ASCII)
        except re.error:
            raise self.error("invalid character class") from None
        return lambda program, after: program.add(_State((after,), lambda character: bool(known.fullmatch(character))))


def _times(one: Emit, least: int, most: int | None) -> Emit:
    """Return what repeats a piece `least` to `most` times; None is without limit."""

    def emit(program: Program, after: int) -> int:
        if most is None:
            loop = program.add(_State(()))
            program.states[loop].after = (one(program, loop), after)
            after = loop
        for _ in range((most or least) - least):
            after = program.add(_State((one(program, after), after)))
        for _ in range(least):
            after = one(program, after)
        return after

    return emit
