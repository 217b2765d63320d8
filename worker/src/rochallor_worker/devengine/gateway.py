"""What a gateway in front of an engine requires: TLS and a bearer token. The engine itself has neither (engine.md)."""

import hmac
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Gateway:
    """Presents the certificate in `cert_file` with the key in `key_file` (PEM), and admits callers with the token.

    Without files there is no TLS. With `accepts` it decides which tokens are admitted, such as those that an OAuth2
    server has issued; without it and without a token every caller is. Raises `ValueError` when only one of the
    files is given or they cannot be used.
    """

    cert_file: Path | None = None
    key_file: Path | None = None
    token: str | None = None
    accepts: Callable[[str], bool] | None = None

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("a TLS certificate and its key are given together or not at all")
        self.tls()

    def tls(self) -> ssl.SSLContext | None:
        """Return the server's TLS context; None without a certificate."""
        if self.cert_file is None or self.key_file is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.cert_file, self.key_file)
        except OSError as error:
            raise ValueError(
                f"the TLS certificate {self.cert_file} with the key {self.key_file} cannot be used: "
                f"{error.strerror or error}"
            ) from None
        return context

    @property
    def guarded(self) -> bool:
        """Whether callers need a token."""
        return self.token is not None or self.accepts is not None

    def admits(self, authorization: str) -> bool:
        """Whether a call with this Authorization header is admitted."""
        if self.accepts is not None:
            scheme, _, token = authorization.partition(" ")
            return scheme == "Bearer" and self.accepts(token)
        if self.token is None:
            return True
        return hmac.compare_digest(authorization.encode(errors="surrogateescape"), f"Bearer {self.token}".encode())


def read_token(file: Path) -> str:
    """Return the token in a file, without white space around it. Raises `ValueError` if there is none."""
    try:
        token = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ValueError(f"the token file {file} cannot be read: {error.strerror}") from None
    if not token:
        raise ValueError(f"the token file {file} is empty")
    return token
