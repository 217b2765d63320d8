"""A connection string, which a tenant has written, as parameters that can do no harm."""

from __future__ import annotations

from typing import Final

from psycopg import Error
from psycopg.conninfo import conninfo_to_dict

from rochallor_operator.errors import DegradedError
from rochallor_operator.status.reasons import Reason

CONNECT_S: Final = 5
MOST_HOSTS: Final = 5
ALLOWED: Final = (
    "host",
    "port",
    "dbname",
    "user",
    "password",
    "sslmode",
    "connect_timeout",
    "application_name",
    "target_session_attrs",
    "channel_binding",
)
"""The others name files and services of the operator's own pod, or change what its queries mean."""
_OURS: Final = {
    "connect_timeout": str(CONNECT_S),
    "client_encoding": "UTF8",  # the default is the database's own, in which names would be other bytes
    # Neither files in the operator's pod nor Kerberos, whose library waits for name servers.
    "sslcertmode": "disable",
    "gssencmode": "disable",
    "require_auth": "none,password,md5,scram-sha-256",
}


def parameters(text: str) -> dict[str, str]:
    """The parameters of a connection string in libpq's format, a URL or keywords.

    Raises DegradedError, whose text repeats nothing of it.
    """
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(text).items()}
    except (Error, ValueError):
        raise _invalid("is neither a URL nor keywords of PostgreSQL") from None
    if not given.keys() <= set(ALLOWED):
        raise _invalid(f"has a parameter that is not allowed: use only {', '.join(ALLOWED)}")
    hosts, ports = given.get("host", "").split(","), given.get("port", "5432").split(",")
    if len(hosts) > MOST_HOSTS or any(not host or host[0] in "/@" for host in hosts):
        raise _invalid(f"needs a host, or up to {MOST_HOSTS}: names or addresses, and no socket")
    if not given.get("user"):  # the default would be the operator's own, which has no name
        raise _invalid("needs a user")
    if not all(port.isascii() and port.isdecimal() and 0 < int(port) < 65536 for port in ports):
        raise _invalid("has a port that is no number from 1 to 65535")
    if len(ports) not in {1, len(hosts)}:
        raise _invalid("needs one port, or one for each host")
    ports *= len(hosts) // len(ports)
    return {"application_name": "rochallor-operator"} | given | {"port": ",".join(ports)} | _OURS


def _invalid(what: str) -> DegradedError:
    return DegradedError(Reason.CONNECTION_INVALID, f"the connection string of engine.databaseSecret {what}")
