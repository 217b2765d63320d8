"""Executing jobs: claim, lease, run, report, settle."""
