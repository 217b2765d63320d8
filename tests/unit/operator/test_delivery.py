"""Versions in answers of the API server must arrive through the watch, too."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rochallor_operator.watch.delivery import LIMIT_S, DeliveryCheck

if TYPE_CHECKING:
    from rochallor_operator.names import Manifest

pytestmark = pytest.mark.looptime

SERVICES, DEPLOYMENTS = ("Service", ""), ("Deployment", "")


def version(number: int) -> Manifest:
    return {"metadata": {"resourceVersion": f"{number}"}}


async def test_a_watch_that_does_not_deliver_a_change_is_silent() -> None:
    delivery = DeliveryCheck()
    delivery.delivered(SERVICES, version(5))
    delivery.expect(SERVICES, version(5))
    await asyncio.sleep(1000)
    assert delivery.overdue() is None, "there is no new version"
    delivery.expect(SERVICES, version(6))
    await asyncio.sleep(LIMIT_S - 10)
    delivery.expect(SERVICES, version(7))
    delivery.delivered(DEPLOYMENTS, version(8))
    assert delivery.overdue() is None
    await asyncio.sleep(11)
    assert delivery.overdue() == "Service", "one dead watch among several"
    assert (delivery.silence("Service"), delivery.silence("Deployment")) == (LIMIT_S + 1, 0)
    delivery.clear()
    assert delivery.overdue() is None


async def test_a_later_change_proves_as_much() -> None:
    delivery = DeliveryCheck()
    delivery.expect(SERVICES, version(6))
    delivery.delivered(SERVICES, version(7))
    delivery.expect(SERVICES, version(6))
    await asyncio.sleep(1000)
    assert delivery.overdue() is None


async def test_each_namespace_has_a_watch_of_its_own() -> None:
    delivery = DeliveryCheck()
    delivery.expect(("Service", "a"), version(6))
    delivery.delivered(("Service", "b"), version(9))
    await asyncio.sleep(1000)
    assert delivery.overdue() == "Service"
