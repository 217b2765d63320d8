"""Additions to mkdocs: pages whose source is elsewhere in the repository, and links that leave docs/."""

from __future__ import annotations

import os
import posixpath
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
}
"""Pages of the site, and the files of the repository that they are made from."""
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Link to the repository, once its address is in worker/pyproject.toml."""
    project = tomllib.loads((ROOT / "worker" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project.get("urls", {}).get("Repository")
    if address is not None:
        config.repo_url, config.repo_name = address, address.removeprefix("https://")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages whose source is elsewhere."""
    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Make links and pictures work as in the repository; a link to a file that is no page becomes its name.

    A dead link stays as it is, so that mkdocs reports it.
    """
    here = page.file.src_uri
    folder = posixpath.dirname(ELSEWHERE.get(here, f"docs/{here}"))
    pages = {source: page for page, source in ELSEWHERE.items()}

    def lead(link: re.Match[str]) -> str:
        text, target, anchor = link.groups()
        path = posixpath.normpath(posixpath.join(folder, target))
        if "://" in target or not (ROOT / path).exists():
            return link[0]
        if path not in pages and not path.startswith("docs/"):
            return f"{text} (`{path}`)"
        to = pages.get(path, path.removeprefix("docs/"))
        return f"[{text}]({os.path.relpath(to, posixpath.dirname(here) or '.')}{anchor or ''})"

    return LINK.sub(lead, markdown)
