"""Pages for people: one style, one script, nothing from elsewhere.

A script puts what it fetches into the page as text, never as HTML, and the policy lets no other script run.
"""

from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import NamedTuple

_FOLDER = Path(__file__).parent


class Page(NamedTuple):
    """A page as it is served."""

    body: bytes
    headers: Mapping[str, str]


@cache
def page(title: str, script: str) -> Page:
    """Return the page that a script of this folder fills."""
    style = (_FOLDER / "style.css").read_text(encoding="utf-8")
    code = "".join((_FOLDER / name).read_text(encoding="utf-8") for name in ("page.js", script))
    body = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" '
        f'content="light dark"><title>{escape(title)}</title><style>{style}</style></head>'
        f"<body><main><noscript>This page needs JavaScript.</noscript></main><script>{code}</script></body></html>"
    )
    policy = (
        f"default-src 'none'; connect-src 'self'; img-src data:; script-src {_hash(code)}; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(
        body.encode(),
        {
            "content-type": "text/html; charset=utf-8",
            "content-security-policy": policy,
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
        },
    )


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
