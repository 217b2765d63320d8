"""Prepared faults: for each, the facts as they are then, and what must be named."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from msgspec import structs

from rochallor_worker.why.facts import Answer, Condition, Facts, JobState, Pod, Slots, Step, TypeState, Worker
from rochallor_worker.why.stops import State

NOW = datetime(2026, 11, 30, 3, 0, tzinfo=UTC)
CHARGE = Step("charge", "SERVICE_TASK", "charge-card", since=NOW - timedelta(minutes=10))
ANSWER = Answer(worker="pay-1", slots=Slots(64, 3), types=(TypeState("charge-card", running=3),))
POD = Pod("pay-1", answer=ANSWER)
READY = Condition("Ready", "True", "Available", "1 of 1 pods available")
WORKER = Worker(
    "shop/pay",
    ("charge-card", "refund"),
    wanted=1,
    ready=1,
    engine="http://engine:8080",
    conditions=(READY,),
    pods=(POD,),
)
SOUND = Facts(
    NOW,
    "order-1",
    instance_id="01M8",
    definition="order v1",
    status="ACTIVE",
    started_at=NOW - timedelta(minutes=11),
    steps=(replace(CHARGE, since=NOW - timedelta(seconds=2)),),
    workers=(WORKER,),
)


class Fault(NamedTuple):
    """What is broken, and what the answer must be."""

    facts: Facts
    state: State
    named: str
    page: str


def at(*steps: Step, status: str = "ACTIVE") -> Facts:
    return replace(SOUND, steps=steps, status=status)


def with_worker(worker: Worker, *others: Worker) -> Facts:
    return replace(at(CHARGE), workers=(worker, *others))


def with_answer(answer: Answer) -> Facts:
    return with_worker(replace(WORKER, pods=(replace(POD, answer=answer),)))


def with_type(kind: TypeState) -> Facts:
    return with_answer(structs.replace(ANSWER, types=(kind,)))


def without_pods(*conditions: Condition, pods: tuple[Pod, ...] = (), **changes: object) -> Facts:
    return with_worker(replace(WORKER, ready=0, conditions=conditions, pods=pods, **changes))  # type: ignore[arg-type]


def unready(reason: str, message: str = "because") -> Facts:
    """The worker's pods are not ready for a reason."""
    pods = (Pod("pay-1", ready=False),)
    return without_pods(
        Condition("Degraded", "False", "Healthy"), Condition("Ready", "False", reason, message), pods=pods
    )


def degraded(reason: str, message: str = "because") -> Facts:
    return without_pods(Condition("Degraded", "True", reason, message), Condition("Ready", "False", "RollingOut"))


def reported(problem: str) -> Facts:
    """A pod that is not ready says why."""
    pod = Pod("pay-1", ready=False, answer=structs.replace(ANSWER, problem=problem))
    return without_pods(Condition("Ready", "False", "PodsNotReady"), pods=(pod,))


def older(*conditions: Condition, **changes: object) -> Facts:
    """The pod is of a version that lacks the job type."""
    pods = (replace(POD, answer=structs.replace(ANSWER, types=())),)
    return with_worker(replace(WORKER, conditions=conditions, pods=pods, **changes))  # type: ignore[arg-type]


def job(**state: object) -> Facts:
    return with_answer(structs.replace(ANSWER, jobs=(JobState("01M8", "charge-card", 40, **state),)))  # type: ignore[arg-type]


TROUBLE = "troubleshooting.md#"
FAULTS = {
    "engine unreachable": Fault(
        Facts(NOW, "order-1", engine_problem="cannot connect to http://engine:8080"),
        "stops",
        "cannot connect to http://engine:8080",
        TROUBLE + "engineunreachable",
    ),
    "no such instance": Fault(Facts(NOW, "order-1"), "stops", "no instance with the id or business key 'order-1'", ""),
    "failed, its retries spent": Fault(
        replace(at(CHARGE, status="FAILED"), failed_step="charge", failure="HTTP 503"),
        "stops",
        "FAILED at step 'charge': HTTP 503",
        "asking.md#what-has-failed",
    ),
    "cancelled": Fault(
        replace(at(CHARGE, status="CANCELLED"), failure="twice"), "ended", "it was cancelled: twice", ""
    ),
    "a user task": Fault(
        at(Step("ok", "USER_TASK")), "waits", "user task 'ok' waits for a person", "asking.md#steps-that-wait"
    ),
    "a signal": Fault(
        at(Step("paid", "WAIT")), "waits", "step 'paid' waits for its signal", "asking.md#steps-that-wait"
    ),
    "a timer": Fault(
        at(Step("paid", "WAIT", timers=("PT1H",))), "waits", "or for its timer (PT1H)", "asking.md#steps-that-wait"
    ),
    "a join": Fault(
        at(Step("j", "JOIN_GATEWAY")), "waits", "join 'j' waits for its other branches", "asking.md#steps-that-wait"
    ),
    "no next step": Fault(
        at(replace(CHARGE, status="COMPLETED", follows=False)),
        "stops",
        "names no next step",
        "asking.md#a-step-without-a-next-one",
    ),
    "misspelt job type": Fault(
        at(replace(CHARGE, job_type="charge-crad")),
        "stops",
        "'charge-card' is served: is one of them misspelt?",
        TROUBLE + "ready-but-no-jobs-get-done",
    ),
    "no worker lists it": Fault(
        at(replace(CHARGE, job_type="ship")),
        "stops",
        "no worker takes jobs of type 'ship'",
        TROUBLE + "ready-but-no-jobs-get-done",
    ),
    "suspended": Fault(without_pods(suspended=True), "stops", "shop/pay: Suspended", TROUBLE + "suspended"),
    "scaled to zero": Fault(
        without_pods(Condition("Ready", "True", "ScaledToZero", "spec.replicas is 0"), wanted=0),
        "stops",
        "ScaledToZero: spec.replicas is 0",
        TROUBLE + "scaledtozero",
    ),
    "the autoscaler cannot read its metric": Fault(
        without_pods(
            Condition("Ready", "True", "ScaledToZero"),
            Condition("AutoscalerReady", "False", "MetricsUnavailable"),
            wanted=None,
        ),
        "stops",
        "MetricsUnavailable",
        TROUBLE + "metricsunavailable",
    ),
    "crash loop": Fault(unready("CrashLoopBackOff"), "stops", "CrashLoopBackOff", TROUBLE + "crashloopbackoff"),
    "image": Fault(unready("ImagePullBackOff"), "stops", "ImagePullBackOff", TROUBLE + "imagepullbackoff"),
    "no node": Fault(unready("Unschedulable"), "stops", "Unschedulable", TROUBLE + "unschedulable"),
    "quota": Fault(unready("QuotaExceeded"), "stops", "QuotaExceeded", TROUBLE + "quotaexceeded"),
    "Secret missing": Fault(degraded("SecretNotFound"), "stops", "SecretNotFound", TROUBLE + "secretnotfound"),
    "the workers' engine is unreachable": Fault(
        reported("EngineUnreachable: cannot connect"), "stops", "cannot connect", TROUBLE + "engineunreachable"
    ),
    "transport mismatch": Fault(
        reported("TransportMismatch: the engine dispatches over Kafka"),
        "stops",
        "dispatches over Kafka",
        TROUBLE + "transportmismatch",
    ),
    "draining": Fault(
        with_answer(structs.replace(ANSWER, problem="Draining: no more jobs are taken")),
        "stops",
        "Draining",
        TROUBLE + "draining",
    ),
    "breaker open": Fault(
        with_type(TypeState("charge-card", breaker="open", reason="no route")),
        "stops",
        "one after another: no route",
        TROUBLE + "breakeropen",
    ),
    "limit reached": Fault(
        with_type(TypeState("charge-card", running=4, parallelism=4)),
        "stops",
        "runs as many jobs of type 'charge-card' as its limit allows: 4",
        "operator.md#limits",
    ),
    "a rate": Fault(
        with_type(TypeState("charge-card", per_second=2)), "waits", "begins 2 runs a second", "operator.md#limits"
    ),
    "all slots busy": Fault(
        with_answer(structs.replace(ANSWER, slots=Slots(64, 64))),
        "stops",
        "no slot of pay-1 of shop/pay is free, of 64",
        "production.md#rochallorworkersaturated",
    ),
    "an older version": Fault(
        with_answer(structs.replace(ANSWER, types=())), "stops", "does not take 'charge-card'", TROUBLE + "rollingout"
    ),
    "a job type of a version that does not start": Fault(
        older(
            Condition("Ready", "False", "ImagePullBackOff", "no such image"), Condition("Degraded", "False", "Healthy")
        ),
        "stops",
        "ImagePullBackOff: its version of the worker does not take 'charge-card': no such image",
        TROUBLE + "imagepullbackoff",
    ),
    "a job type of a version on trial": Fault(
        older(READY, Condition("Progressing", "True", "CanaryWaiting", "9 of 100 jobs")),
        "stops",
        "does not take 'charge-card': 9 of 100 jobs",
        TROUBLE + "canarywaiting",
    ),
    "a job type of a version that failed its trial": Fault(
        older(READY, Condition("Progressing", "False", "CanaryFailed"), Condition("Degraded", "True", "CanaryFailed")),
        "stops",
        "CanaryFailed",
        TROUBLE + "canaryfailed",
    ),
    "a job type that the operator has not seen": Fault(
        older(READY, observed=False),
        "stops",
        "shop/pay: no operator has seen its last change",
        "production.md#rochalloroperatordown",
    ),
    "no operator": Fault(
        without_pods(READY, observed=False),
        "stops",
        "shop/pay: no operator has seen its last change",
        "production.md#rochalloroperatordown",
    ),
    "the lease of a worker that died": Fault(
        with_worker(replace(WORKER, pods=(replace(POD, ended_at=NOW - timedelta(seconds=10), ended_why="OOMKilled"),))),
        "waits",
        "ended (OOMKilled) and may have had its job: the engine hands it out again within 35 s",
        "guarantees.md",
    ),
    "left alone": Fault(
        at(CHARGE),
        "unknown",
        "another worker may have it, or they ask another engine",
        TROUBLE + "ready-but-no-jobs-get-done",
    ),
    "postponed by its breaker": Fault(
        with_answer(
            structs.replace(
                ANSWER,
                types=(TypeState("charge-card", parked=1, breaker="open", reason="no route"),),
                jobs=(JobState("01M8", "charge-card", 40, parked=True),),
            )
        ),
        "stops",
        "pay-1 of shop/pay: BreakerOpen: runs of 'charge-card' fail one after another: no route",
        TROUBLE + "breakeropen",
    ),
    "backoff": Fault(
        job(left=20, ended=True),
        "waits",
        "its run has ended in pay-1 of shop/pay: a retry's backoff goes on",
        "handlers.md#errors-and-retries-of-one-handler",
    ),
    "an outcome that the engine does not take": Fault(
        with_answer(
            structs.replace(
                ANSWER,
                problem="EngineUnreachable: cannot connect",
                jobs=(JobState("01M8", "charge-card", 40, ended=True),),
            )
        ),
        "stops",
        "EngineUnreachable: cannot connect",
        TROUBLE + "engineunreachable",
    ),
    "postponed": Fault(job(parked=True), "waits", "its job is postponed", "handlers.md#not-now-postpone"),
    "past its lease": Fault(job(left=0), "stops", "past its lease", TROUBLE + "handlers-that-outlive-their-lease"),
    "pods cannot be asked": Fault(
        with_worker(replace(WORKER, pods=(Pod("pay-1"),))),
        "unknown",
        "could not all be asked",
        TROUBLE + "ready-but-no-jobs-get-done",
    ),
    "Kubernetes cannot be asked": Fault(replace(at(CHARGE), workers=None), "unknown", "nobody could be asked", ""),
    "over gRPC": Fault(at(replace(CHARGE, job_type="")), "unknown", "says so over REST only", ""),
}
