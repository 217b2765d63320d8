"""Metrics of the dev engine for Prometheus: its unfinished instances by definition. Runs as a pod beside it."""

from __future__ import annotations

import json
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

ENGINE = "http://dev-engine:8080/v1"
PORT = 9090


def exposition() -> bytes:
    """Return the text that Prometheus scrapes. Raises OSError if the engine doesn't answer."""
    lines = ["# TYPE engine_instances_active gauge"]
    for definition in _get("definitions")["items"]:
        active = _get(f"instances?pageSize=1&status=ACTIVE&definitionId={definition['id']}")["total"]
        lines.append(f'engine_instances_active{{definition="{definition["id"]}"}} {active}')
    return ("\n".join(lines) + "\n").encode()


def _get(path: str) -> dict[str, list[dict[str, str]]]:
    with urllib.request.urlopen(f"{ENGINE}/{path}", timeout=2) as answer:  # noqa: S310 - a constant
        return json.load(answer)  # type: ignore[no-any-return]


class Handler(BaseHTTPRequestHandler):
    """Answers every GET with the metrics, or with 500."""

    def do_GET(self) -> None:
        try:
            status, body = 200, exposition()
        except OSError as error:
            status, body = 500, str(error).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing per request."""


if __name__ == "__main__":
    HTTPServer(("", PORT), Handler).serve_forever()
