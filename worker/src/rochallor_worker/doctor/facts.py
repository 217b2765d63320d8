"""What can be known of an engine, and what a worker may rely on there."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from rochallor_worker.doctor.findings import Finding, State
from rochallor_worker.execution.lease import FIXED_LENGTH

SKEW_SECONDS = 1.0
"""A difference between clocks that is worth fixing: the worker warns above it too."""


class Answer(StrEnum):
    """Whether something is true. `MIXED`: some answers say yes and others no, as replicas of two generations do."""

    YES = "yes"
    NO = "no"
    MIXED = "mixed"
    UNKNOWN = "unknown"

    @classmethod
    def of(cls, true: bool) -> "Answer":
        """Return YES or NO."""
        return cls.YES if true else cls.NO

    @classmethod
    def together(cls, answers: Iterable["Answer"]) -> "Answer":
        """Combine several answers to one question."""
        known = set(answers) - {cls.UNKNOWN}
        if len(known) > 1:
            return cls.MIXED
        return known.pop() if known else cls.UNKNOWN


@dataclass(frozen=True, slots=True)
class Facts:
    """What an engine answered (engine.md, "Generations"). What was not asked is UNKNOWN or None."""

    kafka: Answer = Answer.UNKNOWN
    """Jobs are dispatched over Kafka, and polls are refused."""
    fenced: Answer = Answer.UNKNOWN
    """An outcome counts only from the job's owner and within its lease."""
    renewable: Answer = Answer.UNKNOWN
    """Leases can be renewed."""
    retry_step: Answer = Answer.UNKNOWN
    """A failed step can be run again by hand."""
    tried: bool = False
    """An instance was run: what follows is known too."""
    lease: float = 0.0
    """The length of a lease, in seconds, unless another one is requested."""
    lease_on_request: Answer = Answer.UNKNOWN
    """A poll gets the lease length that it requests."""
    clock_skew: float | None = None
    """How many seconds the engine's clock is ahead of its database's; only REST shows it."""
    stable_key: Answer = Answer.UNKNOWN
    """The step execution id stays the same across retries."""
    new_id_per_attempt: Answer = Answer.UNKNOWN
    schemas: Answer = Answer.UNKNOWN
    """Definitions may have `input_schema` and `outputs_schema`."""
    unique_business_keys: Answer = Answer.UNKNOWN
    variables_in_claims: Answer = Answer.UNKNOWN
    """A claimed job carries its variables."""

    @property
    def mixed(self) -> bool:
        """Whether replicas of several generations answer in turn."""
        return Answer.MIXED in {self.fenced, self.renewable, self.retry_step}


NO, YES, MIXED, UNKNOWN = Answer.NO, Answer.YES, Answer.MIXED, Answer.UNKNOWN


def meaning(facts: Facts) -> Iterator[Finding]:
    """Yield a row for each property of an engine that matters to a worker."""
    yield _generation(facts)
    yield _outcomes(facts)
    yield _renewal(facts)
    if facts.retry_step is not UNKNOWN:
        yield _retry_step(facts)
    if facts.tried:
        yield from _tried(facts)


def _generation(facts: Facts) -> Finding:
    if facts.mixed:
        found = "replicas of several generations answer in turn"
        return Finding("generation", "warning", found, "Finish the upgrade. Until then, workers decide call by call.")
    names = {
        (NO, NO, NO): "A: up to spring 2026",
        (NO, NO, YES): "B: v1.0 or v1.1",
        (YES, NO, YES): "C: after v1.1",
        (YES, NO, NO): "C, without manual retries",
        (YES, YES, YES): "D: v1.2 or later",
        (YES, YES, NO): "D, without manual retries",
    }
    found = names.get((facts.fenced, facts.renewable, facts.retry_step), "not known to this worker")
    state: State = "warning" if facts.fenced is not YES else "ok"
    return Finding("generation", state, found, "Upgrade the engine when you can." if facts.fenced is NO else "")


def _outcomes(facts: Facts) -> Finding:
    check = "outcomes"
    match facts.fenced:
        case Answer.YES:
            advice = "Rely on it: an outcome counts once. A late one is delivered with the job's next claim."
            return Finding(check, "ok", "fenced: they count only from the job's owner, within its lease", advice)
        case Answer.NO:
            advice = "A late Fail can spoil another worker's run: let handlers end within their lease."
            return Finding(check, "warning", "unfenced: they count from any worker, at any time", advice)
        case Answer.MIXED:
            advice = "Expect both. As always, make effects once per job.key."
            return Finding(check, "warning", "fenced by some replicas only", advice)
    return Finding(check, "warning", "not known whether they are fenced", "Run doctor with --probe.")


def _renewal(facts: Facts) -> Finding:
    match facts.renewable:
        case Answer.YES:
            return Finding("leases", "ok", "can be renewed", "Handlers may run for hours.")
        case Answer.NO:
            advice = "Let handlers end within the lease, or take the jobs from Kafka."
            return Finding("leases", "ok", "cannot be renewed", advice)
        case Answer.MIXED:
            advice = "Until the upgrade is finished, let handlers end within 30 s."
            return Finding("leases", "warning", "can be renewed by some replicas only", advice)
    return Finding("leases", "warning", "not known whether they can be renewed", "Run doctor with --probe.")


def _retry_step(facts: Facts) -> Finding:
    if facts.retry_step is YES:
        found, advice = "a failed step can be run again", "That run has another job.key: use a business key."
        return Finding("manual retry", "ok", found, advice)
    found = "not possible" if facts.retry_step is NO else "possible on some replicas only"
    return Finding("manual retry", "ok", found, "A FAILED instance stays FAILED: start another one.")


def _tried(facts: Facts) -> Iterator[Finding]:
    """Yield what only the run of an instance shows."""
    given = {YES: "any length from 5 s to 1 h on request", NO: "whatever is requested"}.get(
        facts.lease_on_request, "another length on request, from some replicas only"
    )
    advice = "ROCHALLOR_LEASE takes effect." if facts.lease_on_request is YES else "ROCHALLOR_LEASE has no effect."
    yield Finding("lease", "ok", f"{facts.lease:.3g} s, {given}", advice)
    if facts.stable_key is YES:
        again = "a new id, the same key" if facts.new_id_per_attempt is YES else "the same id and key"
        yield Finding("retry of a job", "ok", again, "Make effects once per job.key.")
    else:
        advice = "Report it: job.key changes there, so effects may happen twice."
        yield Finding("retry of a job", "failed", "a new step execution id", advice)
    carried = facts.variables_in_claims is YES
    yield Finding(
        "variables",
        "ok",
        "come with the claim" if carried else "do not come with the claim",
        "" if carried else "The worker fetches them: one more call per job.",
    )
    yield Finding("schemas", "ok", "checked" if facts.schemas is YES else "not known to the engine", _schemas(facts))
    unique = facts.unique_business_keys is YES
    yield Finding(
        "business keys",
        "ok",
        "one running instance each" if unique else "any number of running instances each",
        "A second start is refused (Conflict)." if unique else "Check before you start an instance twice.",
    )
    yield _clocks(facts)


def _schemas(facts: Facts) -> str:
    if facts.schemas is YES:
        return "A result that violates its outputs_schema fails the instance at once."
    return "Check results in the handler."


def _clocks(facts: Facts) -> Finding:
    skew = facts.clock_skew
    if skew is None:
        return Finding("clocks", "ok", "not shown over gRPC", "Check over REST: skew shortens leases.")
    if abs(skew) < SKEW_SECONDS:
        return Finding("clocks", "ok", f"engine and database differ by {abs(skew):.1f} s")
    found = f"the engine's is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} its database's"
    if facts.lease_on_request is NO:
        found += f", or its leases are not {FIXED_LENGTH:g} s long"
    return Finding("clocks", "warning", found, "Synchronize both by NTP: leases are off by as much.")
