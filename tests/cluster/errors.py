"""The one error of this package: something a person has to put right, said in one sentence."""


class ClusterError(Exception):
    """The cluster can't do what was asked; the message says why and what to do about it."""
