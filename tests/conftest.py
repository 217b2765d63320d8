import asyncio


def pytest_configure() -> None:
    # pytest-asyncio asks for the current loop; on Python 3.11 that makes one which nobody closes, unless one was set
    asyncio.set_event_loop(None)
