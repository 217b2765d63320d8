"""What should exist for a worker: pure functions from values to Kubernetes objects."""
