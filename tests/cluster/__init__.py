"""A real Kubernetes for the tests and the demo, with nothing needed but Go, Python and (for pods) root or Docker."""
