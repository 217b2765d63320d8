import asyncio

from hypothesis import HealthCheck, settings

# how long an example takes says how busy the machine is; the rest stays as it is (on CI: the same examples each time)
settings.register_profile("no deadline", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no deadline")
# for `make fuzz`; `make test` runs the same tests with hypothesis's own profile "ci"
settings.register_profile("long", max_examples=2000, print_blob=True)
# for `make mutants`, which runs each test a thousand times and must come to the same end each time
settings.register_profile("mutants", max_examples=20, derandomize=True, database=None, deadline=None)


def pytest_configure() -> None:
    # pytest-asyncio asks for the current loop; on Python 3.11 that makes one which nobody closes, unless one was set
    asyncio.set_event_loop(None)
