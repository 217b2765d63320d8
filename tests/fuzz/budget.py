"""How many examples a test gets: a share of the profile's, which is small in `make test` and large in `make fuzz`."""

from typing import Any

from hypothesis import HealthCheck, settings


def examples(share: float = 1.0, **more: Any) -> settings:
    """Settings for a test: `share` of the profile's examples, fewer where each one takes long.

    All examples of a test may share a server or a folder.
    """
    count = max(1, round(settings().max_examples * share))
    return settings(max_examples=count, suppress_health_check=list(HealthCheck), **more)
