"""The operator process: settings, logs, probes, metrics and the work queue."""
