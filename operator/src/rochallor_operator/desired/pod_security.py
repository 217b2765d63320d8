"""Checks a pod template against a Pod Security Standard (pure).

https://kubernetes.io/docs/concepts/security/pod-security-standards/, for Linux, without its exceptions for pods
with user namespaces. A test compares it with the API server's own check. `restricted` is stricter in one point: no
volume that may hold other people's data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from rochallor_operator.names import Manifest

Standard = Literal["restricted", "baseline"]
Table = tuple[tuple[str, frozenset[Any]], ...]
"""Paths of fields, and their allowed values."""

_POD_SPEC: Final = "spec.template.spec"
_OFF: Final = frozenset({None, False})
_NONE: Final = frozenset({None, ""})
_PROFILES: Final = frozenset({None, "RuntimeDefault", "Localhost"})
_HOST: Final[Table] = (("hostNetwork", _OFF), ("hostPID", _OFF), ("hostIPC", _OFF))
_CONTEXT: Final[Table] = (
    ("seccompProfile.type", _PROFILES),
    ("appArmorProfile.type", _PROFILES),
    (
        "seLinuxOptions.type",
        _NONE | {"container_t", "container_init_t", "container_kvm_t", "container_engine_t"},
    ),
    ("seLinuxOptions.user", _NONE),
    ("seLinuxOptions.role", _NONE),
    ("windowsOptions.hostProcess", _OFF),
)
_CONTAINER: Final[Table] = (
    *((f"securityContext.{path}", allowed) for path, allowed in _CONTEXT),
    ("securityContext.privileged", _OFF),
    ("securityContext.procMount", frozenset({None, "Default"})),
    *(
        (f"{probe}.{way}.host", _NONE)
        for probe in ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle.postStart", "lifecycle.preStop")
        for way in ("httpGet", "tcpSocket")
    ),
)
_CAPABILITIES: Final = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
_SYSCTLS: Final = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    }
)
_APP_ARMOR: Final = "container.apparmor.security.beta.kubernetes.io/"
_VOLUMES: Final = frozenset({"configMap", "downwardAPI", "emptyDir", "projected", "secret"})
"""Without csi, ephemeral and persistentVolumeClaim, which the standard allows: they may hold other people's data."""


class Breach(NamedTuple):
    """A field of the template, and a sentence about its allowed values."""

    field: str
    allowed: str


def breaches(template: Manifest, standard: Standard) -> Iterator[Breach]:
    """The fields of a merged template that the standard forbids."""
    pod = template["spec"]
    yield from _baseline_pod(template, pod)
    for where, container in _containers(pod):
        yield from _baseline_container(where, container)
    if standard == "restricted":
        yield from _restricted_pod(pod)
        for where, container in _containers(pod):
            yield from _restricted_container(f"{where}.securityContext", pod, container)


def _baseline_pod(template: Manifest, pod: Manifest) -> Iterator[Breach]:
    for name, value in template.get("metadata", {}).get("annotations", {}).items():
        if name.startswith(_APP_ARMOR) and value != "runtime/default" and not value.startswith("localhost/"):
            yield Breach(f"spec.template.metadata.annotations[{name}]", "allowed: runtime/default, localhost/NAME")
    where, context = f"{_POD_SPEC}.securityContext", pod.get("securityContext", {})
    yield from _compare(_POD_SPEC, pod, _HOST)
    yield from _compare(where, context, _CONTEXT)
    yield from _others(f"{where}.sysctls", (item["name"] for item in context.get("sysctls", [])), _SYSCTLS)
    for volume in pod.get("volumes", []):
        if "hostPath" in volume:
            yield Breach(f"{_POD_SPEC}.volumes[{volume['name']}].hostPath", "remove it")


def _baseline_container(where: str, container: Manifest) -> Iterator[Breach]:
    yield from _compare(where, container, _CONTAINER)
    added = _at(container, "securityContext.capabilities.add") or []
    yield from _others(f"{where}.securityContext.capabilities.add", added, _CAPABILITIES)
    for port in container.get("ports", []):
        if port.get("hostPort"):
            yield Breach(f"{where}.ports[{port['containerPort']}].hostPort", "remove it")


def _restricted_pod(pod: Manifest) -> Iterator[Breach]:
    for volume in pod.get("volumes", []):
        yield from _others(f"{_POD_SPEC}.volumes[{volume['name']}]", volume.keys() - {"name"}, _VOLUMES)
    if _at(pod, "securityContext.runAsUser") == 0:
        yield Breach(f"{_POD_SPEC}.securityContext.runAsUser", "any user but 0 is allowed")


def _restricted_container(where: str, pod: Manifest, container: Manifest) -> Iterator[Breach]:
    own = container.get("securityContext", {})
    context = pod.get("securityContext", {}) | own
    if own.get("allowPrivilegeEscalation") is not False:
        yield Breach(f"{where}.allowPrivilegeEscalation", "it must be false")
    if context.get("runAsNonRoot") is not True:
        yield Breach(f"{where}.runAsNonRoot", "it must be true")
    if own.get("runAsUser") == 0:
        yield Breach(f"{where}.runAsUser", "any user but 0 is allowed")
    if _at(context, "seccompProfile.type") is None:
        yield Breach(f"{where}.seccompProfile", "it must be RuntimeDefault or Localhost")
    if "ALL" not in (_at(own, "capabilities.drop") or []):
        yield Breach(f"{where}.capabilities.drop", "it must include ALL")
    yield from _others(f"{where}.capabilities.add", _at(own, "capabilities.add") or [], {"NET_BIND_SERVICE"})


def _containers(pod: Manifest) -> Iterator[tuple[str, Manifest]]:
    for group in ("initContainers", "containers"):
        for container in pod.get(group, []):
            yield f"{_POD_SPEC}.{group}[{container['name']}]", container


def _compare(where: str, part: Manifest, table: Table) -> Iterator[Breach]:
    for path, allowed in table:
        if _at(part, path) not in allowed:
            named = [str(value) for value in sorted(allowed - _NONE - _OFF, key=str)]
            yield Breach(f"{where}.{path}", f"allowed: {', '.join(named)}" if named else "remove it")


def _others(where: str, values: Iterable[str], allowed: Collection[str]) -> Iterator[Breach]:
    for value in sorted(values):
        if value not in allowed:
            yield Breach(f"{where} {value!r}", f"allowed: {', '.join(sorted(allowed))}")


def _at(part: Manifest, path: str) -> Any:
    """The value at a dotted path of fields; None where there is none."""
    value: Any = part
    for name in path.split("."):
        value = (value or {}).get(name)
    return value
