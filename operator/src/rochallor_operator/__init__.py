"""Kubernetes operator for RochallorWorker resources."""
