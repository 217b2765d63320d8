"""Watches that miss an event, or go silent: it is noticed and repaired."""

from __future__ import annotations

import json
from contextlib import contextmanager
from time import monotonic, sleep
from typing import TYPE_CHECKING

import pytest

from integration.operator.http_proxy import HttpProxy
from integration.operator.process import Operator
from integration.operator.samples import NAME, make_available, pod_annotations, resource, secret, until_available
from integration.operator.test_secrets import HASH, VARIABLE
from waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from integration.operator.api import Api

pytestmark = pytest.mark.timeout(400)


@contextmanager
def with_short_times(
    proxy: HttpProxy, monkeypatch: pytest.MonkeyPatch, namespaces: str = "", **seconds: float
) -> Iterator[Operator]:
    """An operator with shorter times: module__NAME and seconds."""
    monkeypatch.setenv("SHORT_TIMES", json.dumps({place.replace("__", "."): value for place, value in seconds.items()}))
    module = "integration.operator.short_times"
    with Operator(proxy.kubeconfig, module=module, namespaces=namespaces, worker_image="worker:test") as operator:
        operator.event("watching")
        yield operator


def test_the_last_object_of_a_kind_that_is_deleted_during_a_gap_in_its_watch_is_recreated(
    api: Api, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """O4: the new listing is empty, so there is no event at all."""
    service = f"{NAME}-metrics"
    with (
        HttpProxy(kubeconfig) as proxy,
        with_short_times(
            proxy, monkeypatch, api.namespace, watch__resync__PERIOD_S=4, cluster__cache__TTL_S=1
        ) as operator,
    ):
        api.create(resource())
        until_available(api)
        old = api.the("Service", service)["metadata"]["uid"]
        proxy.silent = "/services"
        api.delete("Service", service)
        proxy.expire, proxy.silent = "/services", None
        proxy.cut("/services")
        api.until_the("Service", service, lambda live: live["metadata"]["uid"] != old)

        until_reconciled(operator, 3)  # until everything has settled
        writes = operator.writes()
        until_reconciled(operator, 3)
        assert operator.writes() == writes, "in steady state, a resync writes nothing"


def until_reconciled(operator: Operator, times: int) -> None:
    """Wait for more reconciles."""
    before = operator.metric("rochallor_operator_reconciles_total")
    wait_until(lambda: operator.metric("rochallor_operator_reconciles_total") >= before + times)


def test_a_watch_of_secrets_that_goes_silent_permanently(
    api: Api, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B10: edits are still seen, only later, and the liveness probe and a metric show it."""
    silent = "the watch of Secrets has delivered nothing for "
    with (
        HttpProxy(kubeconfig) as proxy,
        with_short_times(
            proxy, monkeypatch, watch__sources__WATCH_S=4, cluster__client__GRACE_S=1, watch__triggers__SILENCE_S=30
        ) as operator,
    ):
        api.create(secret("gateway", token="1"))
        api.create(resource(**VARIABLE))
        make_available(api, 1)
        before = pod_annotations(api.the("Deployment", NAME))[HASH]
        assert operator.http("/livez").status_code == 200

        proxy.silent = "/secrets"
        proxy.cut("/secrets")
        sleep(1)
        began = monotonic()
        api.patch("Secret", "gateway", {"stringData": {"token": "2"}})
        api.until_the("Deployment", NAME, lambda live: pod_annotations(live)[HASH] != before)
        print(f"an edit was seen {monotonic() - began:.1f} s later, by watches of 5 s at most")

        wait_until(lambda: operator.http("/livez").text.startswith(silent), within=180)
        assert operator.http("/livez").status_code == 503
        assert silence(operator, "Secret") > 30
        assert silence(operator, "ConfigMap") < 30, "the other watches work"
        proxy.silent = None
        proxy.cut("/secrets")
        api.patch("Secret", "gateway", {"stringData": {"token": "3"}})
        wait_until(lambda: operator.http("/livez").status_code == 200)


def silence(operator: Operator, kind: str) -> float:
    start = f'rochallor_operator_watch_silence_seconds{{kind="{kind}"}} '
    lines = operator.http("/metrics").text.splitlines()
    return next(float(line.removeprefix(start)) for line in lines if line.startswith(start))


def test_one_dead_watch_among_several_is_restarted(api: Api, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator knows of its own writes, and the watch doesn't deliver them."""
    with (
        HttpProxy(kubeconfig) as proxy,
        with_short_times(
            proxy, monkeypatch, api.namespace, watch__delivery__LIMIT_S=5, watch__supervisor__CHECK_S=1
        ) as operator,
    ):
        api.create(resource())
        until_available(api)
        # A busy machine may have delivered something too late already.
        missed, watching = operator.count("a watch has missed a change"), operator.count("watching")
        proxy.silent = "/deployments"
        proxy.cut("/deployments")
        sleep(1)
        api.patch("RochallorWorker", NAME, {"spec": {"parallelism": 7}})
        line = operator.event("a watch has missed a change, restarting all watches", missed + 1)
        assert line["kind"] == "Deployment"
        proxy.silent = None
        operator.event("watching", watching + 1)
        until_available(api)
        wait_until(lambda: silence(operator, "Deployment") == 0)


def test_an_api_server_that_asks_for_a_pause_gets_it(api: Api, kubeconfig: Path) -> None:
    """B11: 48 requests came in 40 s, with Retry-After: 30."""
    pause, kept = 10, 25
    with HttpProxy(kubeconfig) as proxy, Operator(proxy.kubeconfig, worker_image="worker:test") as operator:
        operator.event("watching")
        for number in range(5):
            api.create(resource(f"worker-{number}"))
        api.until_the("Deployment", "worker-4", lambda _: True)
        proxy.wait = pause
        proxy.cut()
        sleep(1)  # requests already sent
        before = len(proxy.requests)
        sleep(kept)
        requests = proxy.requests[before:]
        print(f"{len(requests)} requests in {kept} s with Retry-After: {pause}")
        assert len(requests) <= 30
        proxy.wait = None
        api.create(resource("worker-5"))
        api.until_the("Deployment", "worker-5", lambda _: True)
