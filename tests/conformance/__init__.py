"""Checks what a running engine is, and whether a worker keeps its promises there: `make conformance`."""
