"""Measurements: facts about speed, printed, never asserted."""
