"""Reasons of the status conditions. They are API: programs compare them, so a reason never changes its meaning."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """Why a condition has its status. Where Kubernetes has a reason of its own for stuck pods, it is used unchanged."""

    # Ready and Progressing
    AVAILABLE = "Available"  # all pods of this generation are available
    SUSPENDED = "Suspended"  # no pods: spec.suspend
    SCALED_TO_ZERO = "ScaledToZero"  # no pods: spec.replicas is 0, or the autoscaler needs none
    ROLLING_OUT = "RollingOut"  # pods are being replaced or started
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"  # no progress within the Deployment's deadline
    CRASH_LOOP = "CrashLoopBackOff"  # a container keeps exiting
    IMAGE_PULL = "ImagePullBackOff"  # the image can't be pulled
    UNSCHEDULABLE = "Unschedulable"  # the pod fits on no node
    PODS_NOT_READY = "PodsNotReady"  # pods are no longer ready, or never were, after the last rollout had ended
    PAUSED = "Paused"  # someone has paused the Deployment's rollouts, or the ScaledObject
    CANARY = "Canary"  # a few pods try a new version
    CANARY_WAITING = "CanaryWaiting"  # the same, but something must be known before it goes on

    # Degraded
    HEALTHY = "Healthy"  # no problem
    INVALID_SPEC = "InvalidSpec"  # the resource, or what the API server made of it, is wrong
    POLICY_VIOLATION = "PolicyViolation"  # the resource asks for more than the operator's settings allow
    SECRET_NOT_FOUND = "SecretNotFound"  # a Secret in use, or a key in it, is missing  # noqa: S105
    CONFIG_MAP_NOT_FOUND = "ConfigMapNotFound"  # a ConfigMap that the pods use, or a key in it, is missing
    CONNECTION_NOT_FOUND = "ConnectionNotFound"  # the EngineConnection in engineRef doesn't exist
    CONNECTION_NOT_ALLOWED = "ConnectionNotAllowed"  # it exists, and isn't for this namespace or this operator
    NAME_CONFLICT = "NameConflict"  # an object with the name of a child belongs to someone else
    DRIFTED = "Drifted"  # someone changed an object of ours in a way that can't be reverted
    QUOTA_EXCEEDED = "QuotaExceeded"  # a ResourceQuota refuses objects or pods
    FORBIDDEN = "Forbidden"  # the operator lacks a right, or an admission rule refuses a pod
    SEVERAL_OPERATORS = "SeveralOperators"  # another operator serves the namespace too, and leaves the resource alone
    POD_CREATION_FAILED = "PodCreationFailed"  # the ReplicaSet can't create pods for another reason
    CANARY_FAILED = "CanaryFailed"  # the new version failed its trial or was aborted; the stable pods run on

    # AutoscalerReady and PodMonitorReady
    IN_PLACE = "InPlace"  # the object is there and reports no problem
    STARTING = "Starting"  # the autoscaler has not reported yet, or the database has not been read yet
    DISABLED = "Disabled"  # the operator is set to make no such objects, or to read no databases
    KEDA_NOT_INSTALLED = "KedaNotInstalled"  # the cluster has no KEDA
    POD_MONITOR_NOT_INSTALLED = "PodMonitorNotInstalled"  # the cluster has no PodMonitors
    NOT_SUPPORTED = "NotSupported"  # the cluster's Kubernetes lacks something that the spec asks for
    METRICS_UNAVAILABLE = "MetricsUnavailable"  # the autoscaler can't read what it scales on, or can't scale
    API_ERROR = "ApiError"  # the API server, or a webhook that it calls, fails; tried again

    # BacklogServed
    SERVED = "Served"  # some resource lists each job type that waits
    UNSERVED = "Unserved"  # jobs wait that no resource lists
    CONNECTION_INVALID = "ConnectionInvalid"  # the connection string is wrong, or asks for more than is allowed
    DATABASE_UNREACHABLE = "DatabaseUnreachable"  # the engine's database gives no answer, or too late
    DATABASE_REFUSES = "DatabaseRefuses"  # the engine's database refuses the account or the query

    # Reachable of a connection; when it is False, one of those below
    REACHED = "Reached"  # the workers that have ready pods reach the engine
    NOT_REPORTED = "NotReported"  # no worker that names it has ready pods

    # Degraded, from the workers' own answers
    ENGINE_UNREACHABLE = "EngineUnreachable"  # the workers get no answer from the engine
    ENGINE_REFUSES = "EngineRefuses"  # the engine, or a gateway in front of it, refuses the workers' requests
    TRANSPORT_MISMATCH = "TransportMismatch"  # the engine dispatches jobs over another transport
    TOPIC_NOT_FOUND = "TopicNotFound"  # Kafka has no topic for a job type
    KAFKA_UNREACHABLE = "KafkaUnreachable"  # the workers get no answer from Kafka
    LEASE_NOT_RENEWABLE = "LeaseNotRenewable"  # handlers may outlive the engine's lease; pods stay ready
    BREAKER_OPEN = "BreakerOpen"  # all runs of a job type fail, so it is not taken; pods stay ready


FROM_WORKERS: Final = frozenset(
    {
        Reason.ENGINE_UNREACHABLE,
        Reason.ENGINE_REFUSES,
        Reason.TRANSPORT_MISMATCH,
        Reason.TOPIC_NOT_FOUND,
        Reason.KAFKA_UNREACHABLE,
    }
)
"""Reasons that unready workers give and that need someone to act. Their others (Draining, …) pass by themselves."""
