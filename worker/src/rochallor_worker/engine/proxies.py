"""The proxy that the environment names for an address: HTTPS_PROXY and NO_PROXY, in capitals or not.

Only for TLS: then a proxy passes on bytes that it cannot read. A call in clear is for an engine in the same network,
and a proxy that the environment names by chance would read its token. So HTTP_PROXY and ALL_PROXY do not count.
"""

import ipaddress
from contextlib import suppress
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from rochallor_worker.errors import StartError


def proxy_of(url: str) -> str | None:
    """Return the proxy for a URL, or None. Raises `StartError` if it, or the URL, cannot be used."""
    try:
        parts = urlsplit(url)
    except ValueError:  # without its value, which may contain a password
        raise StartError("the engine's address is not valid: an IPv6 address must be in [ and ]") from None
    proxies, netloc = getproxies_environment(), parts.netloc.rpartition("@")[2]
    if parts.scheme != "https" or "https" not in proxies or _bypassed(parts.hostname or "", netloc, proxies):
        return None
    proxy = proxies["https"] if "://" in proxies["https"] else f"http://{proxies['https']}"
    with suppress(ValueError):
        found = urlsplit(proxy)
        if found.scheme == "http" and found.hostname and found.port is not None:
            return proxy
    # without its value, which may contain a password
    raise StartError("HTTPS_PROXY is not valid: must be http://host:port, such as http://proxy:3128")


def _bypassed(host: str, netloc: str, proxies: dict[str, str]) -> bool:
    """Whether NO_PROXY names a host: by its name, a domain that it is in, or a network of its address."""
    if proxy_bypass(netloc, proxies):
        return True
    with suppress(ValueError):
        address = ipaddress.ip_address(host)
        for entry in proxies.get("no", "").split(","):
            with suppress(ValueError):
                if address in ipaddress.ip_network(entry.strip(), strict=False):
                    return True
    return False
