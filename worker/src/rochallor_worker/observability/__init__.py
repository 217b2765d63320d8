"""What others see of a worker: metrics, probes, the status page."""
