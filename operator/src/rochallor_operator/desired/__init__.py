"""What should exist for a worker: pure functions from its spec to Kubernetes objects."""
