"""The one error of this package."""


class ClusterError(Exception):
    """The cluster can't do what was requested; the message says why and how to fix it."""
