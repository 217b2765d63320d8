"""The Secrets of a ClusterEngineConnection, of which each worker gets copies: which keys, and their names there.

A worker has one copy for each section of the connection, under a fixed name. So a connection that names another Secret
changes nothing in the pods but the content of files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rochallor_operator.names import Manifest, copy_name

if TYPE_CHECKING:
    from collections.abc import Iterator

SECTIONS: Final = ("engine", "kafka", "prometheus")
"""The sections of a connection that may name Secrets."""
_CLIENT: Final = ("clientId", "clientSecret")
_USER: Final = ("username", "password")


class Loan(NamedTuple):
    """One key of a Secret, and its key in the worker's copy for the section."""

    section: str
    field: str
    """The field of the section that names the Secret."""
    secret: str
    key: str
    copied_as: str


def loans_of(sections: Manifest) -> list[Loan]:
    """All keys of Secrets that a connection names."""
    return [loan for name in SECTIONS if name in sections for loan in _loans(name, sections[name])]


def lend(sections: Manifest, worker: str, *, database: bool) -> tuple[Manifest, list[Loan]]:
    """A connection's sections as they are for a worker, with the names of its copies, and what these hold.

    `database`: whether its objects need the connection string of the engine's database. The operator itself reads it
    at its source.
    """
    left = frozenset[str]() if database else frozenset({"databaseSecret"})
    loans = [loan for loan in loans_of(sections) if loan.field not in left]
    lent = {name: _renamed(section, copy_name(worker, name), left) for name, section in sections.items()}
    return lent, loans


def borrowed(loans: list[Loan], lent: Manifest, spec: Manifest) -> list[Loan]:
    """The loans that a merged spec needs: where the worker has a field of its own, it needs none."""
    merged = spec | {"prometheus": (spec.get("autoscaling") or {}).get("prometheus") or {}}
    return [loan for loan in loans if merged.get(loan.section, {}).get(loan.field) == lent[loan.section][loan.field]]


def _loans(name: str, section: Manifest) -> Iterator[Loan]:
    for field, key in (("tokenSecret", "token"), ("databaseSecret", "database")):
        if field in section:
            yield Loan(name, field, section[field]["name"], section[field]["key"], key)
    oauth = section.get("oauth", {})
    if "credentialsSecret" in oauth:
        yield from (Loan(name, "oauth", oauth["credentialsSecret"], key, key) for key in _CLIENT)
    if "credentialsSecret" in section:
        keys = _CLIENT if "oauth" in section else _USER
        yield from (Loan(name, "credentialsSecret", section["credentialsSecret"], key, key) for key in keys)
    tls = section.get("tls", {})
    if "caSecret" in tls:
        yield Loan(name, "tls", tls["caSecret"], "ca.crt", "ca.crt")
    if "clientCertSecret" in tls:
        yield from (Loan(name, "tls", tls["clientCertSecret"], key, key) for key in ("tls.crt", "tls.key"))


def _renamed(section: Manifest, copy: str, left: frozenset[str] = frozenset()) -> Manifest:
    """A section whose Secrets are the copy, except in the fields to leave."""
    names: dict[str, Any] = {
        "tokenSecret": {"name": copy, "key": "token"},
        "databaseSecret": {"name": copy, "key": "database"},
    } | dict.fromkeys(("credentialsSecret", "caSecret", "clientCertSecret"), copy)
    changed = {field: names[field] for field in section if field in names and field not in left}
    inner = {field: _renamed(section[field], copy) for field in ("oauth", "tls") if field in section}
    return section | changed | inner
