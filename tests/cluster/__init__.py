"""A real Kubernetes for the tests and the demo; it needs only Go, Python and, for pods, root or Docker."""
