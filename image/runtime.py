"""Assembles the file system of an image around an application: the interpreter, its standard library, the libraries
that these and the application load, CA certificates and time zones. No shell, no package manager, no setuid file.

    python3 runtime.py ROOT APPLICATION

ROOT is a new folder; the application itself is not copied. For bases with glibc. Debian's package data of the copied
files is included, so that scanners see the versions of the system's libraries.
"""

import os
import re
import shutil
import ssl
import subprocess
import sys
import sysconfig
from pathlib import Path

USELESS = ("ensurepip", "idlelib", "lib2to3", "pydoc_data", "test", "tkinter", "turtledemo", "venv", "*-packages")
"""Parts of the standard library that a server does not need, and packages installed beside it."""
DATA = (
    "/etc/ld.so.cache",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/usr/share/ca-certificates",  # /etc/ssl/certs links to them
    "/usr/share/zoneinfo",
)


def take(root: Path, path: Path) -> None:
    """Copy a file or folder to the same path under root, with each symbolic link on the way to it."""
    for place in [*reversed(path.parents), path]:
        if place.is_symlink():
            link, target = root / place.relative_to("/"), place.readlink()
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(target)
            take(root, Path(os.path.normpath(place.parent / target)) / path.relative_to(place))
            return
    copy = root / path.relative_to("/")
    copy.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.copytree(path, copy, symlinks=True, ignore=shutil.ignore_patterns(*USELESS), dirs_exist_ok=True)
    else:
        shutil.copy2(path, copy)


def libraries(programs: list[Path]) -> set[Path]:
    """Return the shared libraries that programs and libraries load, directly or not, and the loader itself."""
    listed = subprocess.run(["ldd", *programs], capture_output=True, text=True, check=False).stdout  # noqa: S603, S607
    found = {Path(path) for path in re.findall(r"(?:=> |^[ \t]+)(/\S+)", listed, flags=re.MULTILINE)}
    [libc] = [path for path in found if path.name.startswith("libc.so.")]
    return found | set(libc.parent.glob("libgcc_s.so.1"))  # the C library loads it when a thread ends


def describe(root: Path) -> None:
    """Write Debian's data of the packages that the files are from, one file each, as in distroless images."""
    taken = [f"/{path.relative_to(root)}" for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    # Debian's lists have some files of /usr/lib under their old path in /lib
    search = ["dpkg-query", "--search", *taken, *(name.removeprefix("/usr") for name in taken)]
    owners = subprocess.run(search, capture_output=True, text=True, check=False).stdout  # noqa: S603
    folder = root / "var/lib/dpkg/status.d"
    folder.mkdir(parents=True)
    for package in set(re.findall(r"^([a-z0-9.+-]+)(?::[a-z0-9]+)?: ", owners, flags=re.MULTILINE)):
        status = subprocess.run(["dpkg-query", "--status", package], capture_output=True, check=True).stdout  # noqa: S603, S607
        (folder / package).write_bytes(status)


def main(root: Path, application: Path) -> None:
    """Fill root."""
    standard_library = Path(sysconfig.get_path("stdlib"))
    extensions = [*standard_library.rglob("*.so"), *application.rglob("*.so*")]
    interpreter = Path(sys.executable)
    loaded = libraries([interpreter, *extensions])
    trust = ssl.get_default_verify_paths()
    settings = Path(trust.openssl_cafile).with_name("openssl.cnf")
    data = [Path(path) for path in (*DATA, trust.openssl_cafile, trust.openssl_capath, settings)]
    for path in (interpreter, standard_library, *loaded, *data):
        if path.exists() and application not in path.parents:
            take(root, path)
    if shutil.which("dpkg-query"):
        describe(root)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
