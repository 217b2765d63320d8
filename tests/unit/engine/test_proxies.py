"""Which proxy counts for an address."""

import pytest

from rochallor_worker.engine.proxies import proxy_of
from rochallor_worker.errors import StartError

PROXY = "http://proxy:3128"
NAMES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("url", "environment", "proxy"),
    [
        ("https://engine", {}, None),
        ("https://engine", {"HTTPS_PROXY": PROXY}, PROXY),
        ("https://engine", {"https_proxy": "proxy:3128"}, PROXY),
        ("https://engine", {"HTTP_PROXY": PROXY, "ALL_PROXY": PROXY}, None),
        ("http://engine", {"HTTPS_PROXY": PROXY, "HTTP_PROXY": PROXY}, None),
        ("https://engine:8443", {"HTTPS_PROXY": PROXY, "NO_PROXY": "other,engine"}, None),
        ("https://engine.shop.svc:8443", {"HTTPS_PROXY": PROXY, "no_proxy": ".svc, .local"}, None),
        ("https://engine:8443", {"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, None),
        ("https://10.1.2.3:8443", {"HTTPS_PROXY": PROXY, "NO_PROXY": "192.168.0.0/16,10.0.0.0/8"}, None),
        ("https://[fd00::1]:8443", {"HTTPS_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8, fd00::/8"}, None),
        ("https://shop:x@engine:8443", {"HTTPS_PROXY": PROXY, "NO_PROXY": "engine"}, None),
        ("https://11.1.2.3", {"HTTPS_PROXY": PROXY, "NO_PROXY": "10.0.0.0/8,,x/y"}, PROXY),
    ],
)
def test_the_usual_variables(
    monkeypatch: pytest.MonkeyPatch, url: str, environment: dict[str, str], proxy: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_of(url) == proxy


@pytest.mark.parametrize(
    "value", ["https://proxy:3128", "socks5://proxy:1080", "http://proxy", "http://shop:x@:1", "http://p:x"]
)
def test_a_proxy_that_cannot_be_used_is_not_shown(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(StartError) as raised:
        proxy_of("https://engine")
    assert str(raised.value) == "HTTPS_PROXY is not valid: must be http://host:port, such as http://proxy:3128"


@pytest.mark.parametrize("url", ["https://shop:hunter2@[::1:9090", "https://[engine]:9090"])
def test_an_address_that_cannot_be_read_is_not_shown(url: str) -> None:
    with pytest.raises(StartError) as raised:
        proxy_of(url)
    assert str(raised.value) == "the engine's address is not valid: an IPv6 address must be in [ and ]"
