"""A small OAuth2 token server for tests."""

import base64
import secrets
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import unquote_plus

from aiohttp import web

CLIENT_ID, CLIENT_SECRET = "shop worker", "s3cret: 100 % ü"
"""What only a client that encodes them as the standard says can send."""


class TokenServer:
    """Issues tokens that last `lifetime` seconds to the client with `secret`, and knows which of them still do."""

    def __init__(self, lifetime: float) -> None:
        self.lifetime = lifetime
        self.secret = CLIENT_SECRET
        self.url = ""
        self.requests: list[dict[str, str]] = []
        """The form of each request."""
        self.instead: Callable[[], web.Response] | None = None
        """Answers instead of a token."""
        self.issued: list[str] = []
        self.refused: list[str] = []
        """The tokens that were not accepted."""
        self._ends_at: dict[str, float] = {}

    def accepts(self, token: str) -> bool:
        """Whether a token was issued here and has not ended."""
        if self._ends_at.get(token, 0.0) > time.monotonic():
            return True
        self.refused.append(token)
        return False

    def revoke(self) -> None:
        """End all tokens."""
        self._ends_at.clear()

    async def issue(self, request: web.Request) -> web.Response:
        self.requests.append({name: str(value) for name, value in (await request.post()).items()})
        if self.instead is not None:
            return self.instead()
        _, _, login = request.headers.get("authorization", "").partition(" ")
        if [unquote_plus(part) for part in base64.b64decode(login).decode().split(":")] != [CLIENT_ID, self.secret]:
            return web.json_response({"error": "invalid_client", "error_description": f"not {login}"}, status=401)
        token = secrets.token_urlsafe()
        self.issued.append(token)
        self._ends_at[token] = time.monotonic() + self.lifetime
        return web.json_response({"access_token": token, "token_type": "bearer", "expires_in": self.lifetime})


@asynccontextmanager
async def token_server(lifetime: float = 300.0, tls: ssl.SSLContext | None = None) -> AsyncIterator[TokenServer]:
    """Run a token server at a free port."""
    server = TokenServer(lifetime)
    app = web.Application()
    app.router.add_post("/token", server.issue)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        server.url = f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}/token"
        yield server
    finally:
        await runner.cleanup()
