"""The Kubernetes API: client, cache, canary and leader election."""
