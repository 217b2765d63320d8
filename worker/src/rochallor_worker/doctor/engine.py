"""Checks that the engine can be reached, and what it is."""

import re
from collections.abc import Iterator

from rochallor_worker.cli.settings import Settings
from rochallor_worker.doctor.facts import Answer, Facts, meaning
from rochallor_worker.doctor.findings import Finding
from rochallor_worker.doctor.probe import observe, probe
from rochallor_worker.engine.client import EngineClient
from rochallor_worker.errors import EngineError
from rochallor_worker.execution.lease import FIXED_LENGTH

NAME = "rochallor-doctor"
"""The definition that a probe uploads."""
_NO_TOKEN = re.compile(r": no access token: ")
_TURNED_AWAY = re.compile(r"(: |answered )(401|403|407)\b|: (UNAUTHENTICATED|PERMISSION_DENIED)\b")
_ADVICE = (
    (r"(?i)certificate", "Set ROCHALLOR_ENGINE_CA_FILE to the CA that signed the engine's certificate."),
    (r"(?i)name or service|name resolution|dns|getaddrinfo", "Correct the host name, or this machine's DNS."),
    (r"(?i)refused|connect", "Check the address and the port, and that network policies let this machine through."),
    (r"", "Check that an engine answers there, and not something else."),
)


async def check_engine(
    engine: EngineClient, settings: Settings, *, probing: bool, name: str = NAME
) -> tuple[Facts, list[Finding]]:
    """Check the engine: by calls that leave no trace or, `probing`, by the definition `name` and an instance of it.

    Returns what is known of it, and the rows.
    """
    try:
        await engine.list_definitions(page_size=1)
    except EngineError as error:
        return Facts(), list(_not_reached(settings, error))
    found = list(_reached(settings))
    try:
        facts = await (probe(engine, name) if probing else observe(engine, name))
    except EngineError as error:
        return Facts(), [*found, Finding("generation", "failed", str(error), _advice(error))]
    found += [_dispatch(settings, facts), *meaning(facts)]
    if facts.renewable is Answer.NO and settings.lease != FIXED_LENGTH and settings.transport != "kafka":
        advice = "Unset it: this engine's leases have a fixed length."
        found.append(Finding("ROCHALLOR_LEASE", "warning", f"{settings.lease:g} s has no effect", advice))
    if not facts.tried:
        found.append(_not_tried(facts, probing=probing))
    return facts, found


def _reached(settings: Settings) -> Iterator[Finding]:
    yield Finding("engine", "ok", f"answers at {_where(settings)}")
    yield _tls(settings)
    if settings.sends_token:
        yield Finding("token", "ok", "sent and not refused")
    else:
        yield Finding("token", "ok", "none is set, and none is required")


def _not_reached(settings: Settings, error: EngineError) -> Iterator[Finding]:
    if _NO_TOKEN.search(str(error)):
        advice = "Check the ROCHALLOR_ENGINE_OAUTH_… settings, and the client at the token server."
        yield Finding("token", "failed", str(error), advice)
        return
    if not _TURNED_AWAY.search(str(error)):
        yield Finding("engine", "failed", str(error), _advice(error))
        return
    yield Finding("engine", "ok", f"something answers at {_where(settings)}")
    yield _tls(settings)
    advice = "Set ROCHALLOR_ENGINE_TOKEN or ROCHALLOR_ENGINE_TOKEN_FILE to a token that the gateway accepts."
    if settings.engine_oauth_token_url is not None:
        advice = "Check scope, audience and rights of the client: the gateway refuses its token, or the request."
    yield Finding("token" if settings.sends_token else "no token", "failed", str(error), advice)


def _dispatch(settings: Settings, facts: Facts) -> Finding:
    jobs = {Answer.YES: "over Kafka", Answer.NO: "by polling"}.get(facts.kafka, "by polling or over Kafka, in turn")
    if (facts.kafka is Answer.YES) == (settings.transport == "kafka") and facts.kafka is not Answer.MIXED:
        return Finding("dispatch", "ok", jobs)
    if facts.kafka is Answer.MIXED:
        return Finding("dispatch", "failed", jobs, "Give all replicas of the engine the same dispatch mode.")
    right = "kafka" if facts.kafka is Answer.YES else "rest or grpc"
    return Finding("dispatch", "failed", f"{jobs}; this worker would get no jobs", f"Set ROCHALLOR_TRANSPORT={right}.")


def _not_tried(facts: Facts, *, probing: bool) -> Finding:
    if probing and facts.kafka is not Answer.NO:
        why = "no instance was run: its topic would be missing, which stops the dispatch of every type"
        return Finding("probe", "warning", why)
    found = "lease, schemas, business keys, clocks: only an instance shows them"
    return Finding("not checked", "–", found, "--probe runs one.")


def _tls(settings: Settings) -> Finding:
    if _secure(settings):
        by = "your CA" if settings.engine_ca_file else "a CA of the system"
        return Finding("TLS", "ok", f"on; the certificate is signed by {by}")
    if settings.sends_token:
        return Finding("TLS", "warning", "off: the token can be read in transit", "Use https://, or a mesh with mTLS.")
    return Finding("TLS", "ok", "off")


def _secure(settings: Settings) -> bool:
    if settings.calls_over == "rest":
        return (settings.engine_url or "").startswith("https://")
    files = settings.engine_ca_file or settings.engine_cert_file
    return bool(files) or (settings.engine_grpc_target or "").startswith("https://")


def _where(settings: Settings) -> str:
    """Return the address; the settings accept none with a password in it."""
    over_grpc = settings.calls_over == "grpc"
    return f"{settings.engine_grpc_target} (gRPC)" if over_grpc else f"{settings.engine_url} (REST)"


def _advice(error: EngineError) -> str:
    return next(advice for pattern, advice in _ADVICE if re.search(pattern, str(error)))
