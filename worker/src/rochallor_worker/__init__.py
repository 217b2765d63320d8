"""Job-worker runtime for rochallor-engine."""
