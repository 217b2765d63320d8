"""Reasons of the status conditions. They are API: programs compare them, so a word never changes its meaning."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """One word why a condition has its status. Reasons of stuck pods that Kubernetes names itself keep its word."""

    # Ready and Progressing
    AVAILABLE = "Available"  # all pods of this generation are available
    SUSPENDED = "Suspended"  # no pods: spec.suspend
    SCALED_TO_ZERO = "ScaledToZero"  # no pods: spec.replicas is 0, or the autoscaler needs none
    ROLLING_OUT = "RollingOut"  # pods are being replaced or started
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"  # no progress for the Deployment's deadline
    CRASH_LOOP = "CrashLoopBackOff"  # a container ends again and again
    IMAGE_PULL = "ImagePullBackOff"  # the image can't be fetched
    UNSCHEDULABLE = "Unschedulable"  # no node takes the pod

    # Degraded
    HEALTHY = "Healthy"  # nothing to put right
    INVALID_SPEC = "InvalidSpec"  # the resource, or what the API server made of it, is wrong
    SECRET_NOT_FOUND = "SecretNotFound"  # a Secret that the pods use, or a key in it, is missing  # noqa: S105
    CONFIG_MAP_NOT_FOUND = "ConfigMapNotFound"  # a ConfigMap that the pods use, or a key in it, is missing
    NAME_CONFLICT = "NameConflict"  # an object of a child's name belongs to someone else
    QUOTA_EXCEEDED = "QuotaExceeded"  # a ResourceQuota refuses objects or pods
    FORBIDDEN = "Forbidden"  # the operator, or a pod by an admission rule, is not allowed
    POD_CREATION_FAILED = "PodCreationFailed"  # the ReplicaSet can't make pods for another reason

    # AutoscalerReady and PodMonitorReady
    IN_PLACE = "InPlace"  # the object is there and reports no trouble
    STARTING = "Starting"  # the autoscaler has not reported yet
    KEDA_NOT_INSTALLED = "KedaNotInstalled"  # the cluster doesn't know KEDA's objects
    POD_MONITOR_NOT_INSTALLED = "PodMonitorNotInstalled"  # the cluster doesn't know PodMonitors
    METRICS_UNAVAILABLE = "MetricsUnavailable"  # the autoscaler can't read what it scales on, or can't scale
    API_ERROR = "ApiError"  # the API server, or a webhook that it asks, fails; tried again

    # Degraded, from the workers' own reports
    ENGINE_UNREACHABLE = "EngineUnreachable"  # the workers don't get an answer from the engine
    TRANSPORT_MISMATCH = "TransportMismatch"  # the engine hands out jobs by another transport
    TOPIC_NOT_FOUND = "TopicNotFound"  # Kafka has no topic for a job type
    KAFKA_UNREACHABLE = "KafkaUnreachable"  # the workers don't get an answer from Kafka


REPORTED: Final = frozenset(
    {Reason.ENGINE_UNREACHABLE, Reason.TRANSPORT_MISMATCH, Reason.TOPIC_NOT_FOUND, Reason.KAFKA_UNREACHABLE}
)
"""What a worker can report that someone has to put right. Its other words (Draining, …) pass by themselves."""
