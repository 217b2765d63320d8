"""A tab for each test."""

from collections.abc import AsyncIterator

import pytest

from browser.chromium import Tab, browser


@pytest.fixture
async def tab() -> AsyncIterator[Tab]:
    async with browser() as tab:
        yield tab
