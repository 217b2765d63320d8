"""A small OpenID Connect server: signed tokens for clients, and the keys by which others check them."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLIENT_ID, CLIENT_SECRET = "shop-worker", "client's-secret"
KEY_ID = "1"


class Oidc:
    """Its `token_url` gives tokens that last `lifetime` seconds; `jwks_url` shows the key they are signed with."""

    def __init__(self, folder: Path, lifetime: float) -> None:
        self.lifetime = lifetime
        self.forms: list[str] = []
        """What clients have asked for; refused requests are not counted."""
        self.url = ""
        self._key = folder / "oidc.key"
        _openssl("genrsa", "-out", str(self._key), "2048")

    @property
    def token_url(self) -> str:
        return f"{self.url}/token"

    @property
    def jwks_url(self) -> str:
        return f"{self.url}/jwks"

    def keys(self) -> dict[str, Any]:
        modulus = _openssl("rsa", "-in", str(self._key), "-noout", "-modulus").decode().strip().partition("=")[2]
        key = {
            "kty": "RSA",
            "kid": KEY_ID,
            "use": "sig",
            "alg": "RS256",
            "e": "AQAB",
            "n": _url64(bytes.fromhex(modulus)),
        }
        return {"keys": [key]}

    def token(self, form: str, authorization: str) -> tuple[int, dict[str, Any]]:
        login = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        if authorization != f"Basic {login}":
            return 401, {"error": "invalid_client"}
        self.forms.append(form)
        now = time.time()
        claims = {"sub": CLIENT_ID, "aud": "kafka", "iat": now, "exp": now + self.lifetime, "scope": "jobs"}
        parts = [_url64(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": KEY_ID, "typ": "JWT"}, claims)]
        signature = _openssl("dgst", "-sha256", "-sign", str(self._key), content=".".join(parts).encode())
        token = ".".join([*parts, _url64(signature)])
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime}


@contextmanager
def oidc(folder: Path, lifetime: float) -> Iterator[Oidc]:
    """Run a server at a free port, on threads of its own."""
    server = Oidc(folder, lifetime)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, server.keys())

        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["content-length"])).decode()
            self._answer(*server.token(form, self.headers.get("authorization", "")))

        def _answer(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 — the name it has there
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_port}"
        serving = threading.Thread(target=http.serve_forever)
        serving.start()
        try:
            yield server
        finally:
            http.shutdown()
            serving.join()


def _openssl(*arguments: str, content: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=content, check=True, capture_output=True).stdout


def _url64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")
