"""The hashes that show whether pods have the newest Secrets and ConfigMaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rochallor_operator.children import digest
from rochallor_operator.content.hashes import content, keyed_digest
from rochallor_operator.desired.deployment import NO_CONTENT, Content
from rochallor_operator.desired.pod import pod_template
from rochallor_operator.desired.references import references
from rochallor_operator.spec.worker import Worker, parse
from unit.operator.samples import resource, worker
from unit.operator.test_desired import GRPC, KAFKA

if TYPE_CHECKING:
    from rochallor_operator.content.hashes import Found
    from rochallor_operator.names import Manifest

PIN: Manifest = {"env": [{"name": "PIN", "valueFrom": {"secretKeyRef": {"name": "safe", "key": "pin"}}}]}
CODE: Manifest = {"handlers": {"configMap": {"name": "code", "module": "handlers:registry"}}}
KEY = b"a random key"


def secret(**data: str) -> Manifest:
    return {"metadata": {"uid": "uid", "resourceVersion": "7"}, "data": data}


def of(made: Worker, found: Found, key: bytes = KEY) -> Content:
    return content(key, made, references(made, pod_template(made, "worker:1")), found)


def safe(pin: str, made: Worker | None = None, key: bytes = KEY) -> str | None:
    return of(made or worker(**PIN), {("Secret", "safe"): secret(pin=pin)}, key).config


def test_a_pin_can_not_be_guessed() -> None:
    """S6: anyone who knew the Secret's uid, which a dry-run DELETE returns, found a PIN of 5 digits in 6 s."""
    seen = safe("48151")
    assert seen != safe("48151", key=b"another one")
    assert seen not in {safe(f"{pin:05}", key=b"") for pin in range(40_000, 50_000)}
    assert keyed_digest(KEY, "x") != digest("x")


def test_a_secret_of_ones_own_does_not_help_to_guess() -> None:
    """The operator computes hashes for everybody: they must differ for someone else's worker."""
    elsewhere, other = resource(**PIN), resource(**PIN)
    elsewhere["metadata"]["namespace"] = "attacker"
    other["metadata"]["name"] = "refunds"
    assert len({safe("48151"), safe("48151", parse(elsewhere)), safe("48151", parse(other))}) == 3


def test_only_content_counts() -> None:
    made, before = worker(**PIN), secret(pin="1")
    again = before | {"metadata": {"uid": "recreated", "resourceVersion": "9"}}
    assert of(made, {("Secret", "safe"): before}) == of(made, {("Secret", "safe"): again})
    assert safe("1") != safe("2")


def test_only_the_keys_in_use_count() -> None:
    made = worker(**PIN)
    more = of(made, {("Secret", "safe"): secret(pin="1", other="2")})
    assert more.config == safe("1")
    whole = worker(envFrom=[{"secretRef": {"name": "safe"}}])
    one, two = (of(whole, {("Secret", "safe"): secret(pin="1", other=other)}) for other in "12")
    assert one != two


def test_text_and_bytes_of_the_same_letters_differ() -> None:
    made = worker(envFrom=[{"configMapRef": {"name": "c"}}])
    text, data = ({("ConfigMap", "c"): {"metadata": {}, part: {"k": "YQ=="}}} for part in ("data", "binaryData"))
    assert of(made, text) != of(made, data)


def test_files_that_the_worker_reloads_itself_replace_no_pod() -> None:
    """O15: a token that is rotated every minute restarted all pods every minute."""

    def found(**changed: str) -> Found:
        usual = {"token": "1", "ca.crt": "1", "tls.crt": "1", "tls.key": "1", "username": "1", "password": "1"}
        names = {name for spec in (KAFKA, GRPC) for name in ("gateway", "gateway-ca", "payments-cert")}
        names |= {"kafka-user", "kafka-ca", "kafka-cert"}
        return {("Secret", name): secret(**usual | {"ca.crt": changed.get(name, "1")}) for name in names} | {
            ("Secret", name): secret(**usual | dict.fromkeys(usual, value)) for name, value in changed.items()
        }

    assert of(worker(**GRPC), found()) == NO_CONTENT
    before = of(worker(**KAFKA), found())
    for name in ("gateway", "gateway-ca", "payments-cert", "kafka-user"):
        assert of(worker(**KAFKA), found(**{name: "2"})) == before, name
    for name in ("kafka-ca", "kafka-cert"):
        assert of(worker(**KAFKA), found(**{name: "2"})) != before, f"{name} is read only when a pod starts"


def test_the_same_secret_replaces_pods_where_they_have_it_in_a_variable() -> None:
    variable = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "gateway", "key": "token"}}}
    made = worker(engine=GRPC["engine"] | {"url": "https://e"}, env=[variable])
    assert safe_of(made, "1") != safe_of(made, "2")


def safe_of(made: Worker, token: str) -> Content:
    live = secret(**{"token": token, "ca.crt": "1", "tls.crt": "1", "tls.key": "1"})
    return of(made, {("Secret", name): live for name in ("gateway", "gateway-ca", "payments-cert")})


def test_a_volume_of_the_template_that_replaces_ours_counts_as_theirs() -> None:
    """It is unknown what reads it."""
    mine: Manifest = {
        "name": "connections",
        "secret": {"secretName": "gateway", "items": [{"key": "token", "path": "t"}]},
    }
    made = worker(**GRPC, template={"spec": {"volumes": [mine]}})
    assert safe_of(made, "1") != safe_of(made, "2")


def test_code_is_a_hash_of_its_own() -> None:
    def code(**data: str) -> Content:
        return of(worker(**CODE), {("ConfigMap", "code"): {"metadata": {}, "data": data}})

    first, second = code(**{"handlers.py": "1"}), code(**{"handlers.py": "1", "more.py": "2"})
    assert first.config is None
    assert first.code is not None
    assert first.code != second.code
    assert len(first.code) == 16
