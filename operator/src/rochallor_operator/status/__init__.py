"""Observation → conditions, Events and the rest of the status."""
