"""Messages about files that cannot be used, and when files are checked."""

import asyncio
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from rochallor_worker.engine.client import Connection
from rochallor_worker.engine.credentials import CHECK_SECONDS, Credentials, Rotating
from rochallor_worker.engine.grpc.client import GrpcClient
from rochallor_worker.engine.rest.client import RestClient
from rochallor_worker.errors import StartError


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two pairs, `one` and `two`, `locked` with an encrypted key, and files that are not PEM."""
    folder = tmp_path_factory.mktemp("pki")
    new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    for name, locked in (("one", ["-nodes"]), ("two", ["-nodes"]), ("locked", ["-passout", "pass:secret"])):
        files = ["-keyout", f"{name}.key", "-out", f"{name}.crt", "-days", "30", "-subj", f"/CN={name}"]
        subprocess.run(
            ["openssl", "req", "-x509", *new_key, *locked, *files], cwd=folder, check=True, capture_output=True
        )
    (folder / "junk").write_text("junk")
    (folder / "empty").touch()
    return folder


BAD: list[tuple[dict[str, str], str]] = [
    ({"ca_file": "none"}, "CA file {}/none cannot be read: No such file or directory"),
    ({"ca_file": "junk"}, "CA file {}/junk cannot be used: no certificate or crl found"),
    ({"ca_file": "empty"}, "CA file {}/empty cannot be used: no certificate or crl found"),
    (
        {"cert_file": "none", "key_file": "one.key"},
        "client certificate file {}/none cannot be read: No such file or directory",
    ),
    ({"cert_file": "one.crt", "key_file": "none"}, "client key file cannot be read: No such file or directory"),
    (
        {"cert_file": "one.crt", "key_file": "two.key"},
        "client certificate {0}/one.crt with key {0}/two.key cannot be used: key values mismatch",
    ),
    (
        {"cert_file": "locked.crt", "key_file": "locked.key"},
        "client certificate {0}/locked.crt with key {0}/locked.key cannot be used: not PEM, or the key is encrypted",
    ),
    (
        {"cert_file": "junk", "key_file": "one.key"},
        "client certificate {0}/junk with key {0}/one.key cannot be used: not PEM, or the key is encrypted",
    ),
    ({"token_file": "none"}, "token file (ROCHALLOR_ENGINE_TOKEN_FILE) cannot be read: No such file or directory"),
    ({"token_file": "."}, "token file (ROCHALLOR_ENGINE_TOKEN_FILE) cannot be read: Is a directory"),
    ({"token_file": "empty"}, "token file (ROCHALLOR_ENGINE_TOKEN_FILE) {}/empty is empty"),
]


@pytest.mark.parametrize(("files", "sentence"), BAD)
def test_a_bad_file_is_one_sentence(pki: Path, files: dict[str, str], sentence: str) -> None:
    connection = replace(Connection(), **{name: f"{pki}/{file}" for name, file in files.items()})  # type: ignore[arg-type]
    for client in (RestClient, GrpcClient):
        with pytest.raises(StartError) as refused:
            client("https://127.0.0.1:1", connection)
        assert str(refused.value) == f"the engine's {sentence.format(pki)}"


@pytest.mark.parametrize("header", [("", "x"), ("a b", "x"), ("x-ü", "x"), ("x", "ü"), ("x", "a\nb")])
def test_a_header_that_cannot_be_sent_is_named(header: tuple[str, str]) -> None:
    with pytest.raises(StartError, match="cannot be sent: must be a name of letters"):
        Credentials(Connection(headers=(header,)))


def test_a_token_that_cannot_be_sent_is_not_shown() -> None:
    with pytest.raises(StartError, match=r"token \(ROCHALLOR_ENGINE_TOKEN\) cannot be sent") as refused:
        Credentials(Connection(token="geheim\nü"))
    assert "geheim" not in str(refused.value)


def test_headers_repeated_in_an_answer_are_redacted() -> None:
    headers = (("X-Team", "blue"), ("X-Short", "abcdefgh"), ("X-Login", "Basic c2hvcDp4eA=="))
    found = Credentials(Connection(token="abcdefgh-and-more", headers=headers))
    text = "team blue: no access with abcdefgh-and-more, 'abcdefgh' or c2hvcDp4eA=="
    assert found.redact(text, found.headers) == "team blue: no access with [redacted], '[redacted]' or [redacted]"


def test_files_are_checked_once_a_second(tmp_path: Path) -> None:
    now = 0.0
    file = tmp_path / "token"
    file.write_text("a")
    found = Credentials(Connection(token_file=str(file)), clock=lambda: now)
    file.write_text("changed")
    now = CHECK_SECONDS - 0.01
    found.refresh()
    assert found.headers == {"authorization": "Bearer a"}
    now = CHECK_SECONDS
    found.refresh()
    assert found.headers == {"authorization": "Bearer changed"}


def test_only_valid_tls_files_make_a_new_version(pki: Path, tmp_path: Path) -> None:
    now = 0.0
    file = tmp_path / "ca.crt"
    file.write_bytes((pki / "one.crt").read_bytes())
    found = Credentials(Connection(ca_file=str(file)), clock=lambda: now)
    first = found.tls
    assert first is not None
    for content, version in (("junk", 0), ("two.crt", 1)):
        file.write_bytes((pki / content).read_bytes())
        now += CHECK_SECONDS
        found.refresh()
        assert found.version == version
        assert (found.tls is first) == (version == 0)


async def test_a_transport_is_closed_after_its_last_call() -> None:
    credentials = Credentials(Connection())
    made: list[str] = []
    closed: list[str] = []

    def make() -> str:
        made.append(f"transport {len(made)}")
        return made[-1]

    async def close(transport: str) -> None:
        closed.append(transport)

    rotating = Rotating(credentials, make, close)
    assert made == []
    slow, quick = rotating.current(), rotating.current()
    with slow as transport:
        with quick as same:
            assert transport == same == "transport 0"
        credentials.version += 1
        with rotating.current() as fresh:
            assert fresh == "transport 1"
        await asyncio.sleep(0)
        assert closed == []
    await asyncio.sleep(0)
    assert closed == ["transport 0"]
    await rotating.aclose()
    assert closed == made
