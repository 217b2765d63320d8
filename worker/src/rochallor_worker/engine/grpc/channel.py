"""Channels to an engine's gRPC port: how they connect, and what keeps them alive."""

import ssl
from pathlib import Path
from typing import Protocol

import grpc
import grpc.aio

from rochallor_worker.engine.client import MAX_ANSWER_BYTES
from rochallor_worker.engine.credentials import Tls

SERVICE = "workflow.v1.WorkflowEngine"
CONNECT_SECONDS = 5.0
"""Longest time for one attempt to connect."""

_OPTIONS: list[tuple[str, int | str]] = [
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    ("grpc.max_send_message_length", -1),  # the server has the limit, by default 4 MiB
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),  # so that the engine's return is noticed soon
    # Go servers close connections that ping more often than every five minutes; the timeout also limits how long sent
    # data may stay unacknowledged by a peer that has vanished
    ("grpc.keepalive_time_ms", 310_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.use_local_subchannel_pool", 1),  # a channel for new certificates must connect with them
]


class Call(Protocol):
    """One method of a channel; the timeout is in seconds."""

    def __call__(
        self, request: bytes, *, timeout: float, metadata: tuple[tuple[str, str | bytes], ...]
    ) -> "grpc.aio.UnaryUnaryCall[bytes, bytes]": ...


class Channel:
    """A channel and its methods, which take and return bytes: grpc would only log messages that cannot be read."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._methods: dict[str, Call] = {}

    def method(self, name: str) -> Call:
        """Return the engine's method of this name."""
        try:
            return self._methods[name]
        except KeyError:
            return self._methods.setdefault(name, self._channel.unary_unary(f"/{SERVICE}/{name}"))

    async def aclose(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        await self._channel.close()


def connect(target: str, tls: Tls | None, *, secure: bool, timeout: float, proxy: str | None = None) -> Channel:
    """Return a channel to a host and port, over TLS if there are files for it or if `secure`, through the `proxy`.

    Its calls take at most `timeout` seconds. One attempt to connect takes less, so that a call can know that it was
    never sent.
    """
    # despite its name, the time limit of one attempt to connect
    patience = ("grpc.min_reconnect_backoff_ms", int(min(timeout / 2, CONNECT_SECONDS) * 1000))
    # without a value, gRPC would use more of the environment than we do over REST
    through: list[tuple[str, int | str]] = [("grpc.enable_http_proxy", int(proxy is not None))]
    through += [("grpc.http_proxy", proxy)] if proxy else []
    options = [*_OPTIONS, *through, patience]
    if tls is None and not secure:
        return Channel(grpc.aio.insecure_channel(target, options=options))
    ca, cert, key = (tls.ca, tls.cert, tls.key) if tls else (None, None, None)
    credentials = grpc.ssl_channel_credentials(ca or _system_ca(), key, cert)
    return Channel(grpc.aio.secure_channel(target, credentials, options=options))


def _system_ca() -> bytes | None:
    """Return the system's CAs, as REST uses them; with None, gRPC uses its own."""
    file = ssl.get_default_verify_paths().cafile
    return Path(file).read_bytes() if file else None
