"""Diagrams are drawn by mermaid in the reader's browser. Where npm is there, the site brings its own copy of
it; elsewhere the theme
names a public server for it."""

from __future__ import annotations

import logging
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

RELEASE = "mermaid@11.17.2"
INSIDE = "package/dist/mermaid.min.js"
KEPT = Path(__file__).parents[2] / "build" / "mermaid" / f"{RELEASE}.js"
SHOWN = "site/mermaid.min.js"
log = logging.getLogger("mkdocs.hooks.diagrams")


def on_files(files: Any, config: Any) -> Any:
    """Add mermaid to the site, kept from an earlier build or fetched by npm."""
    if not KEPT.is_file():
        _fetch()
    if KEPT.is_file():
        files.append(File.generated(config, SHOWN, content=KEPT.read_text(encoding="utf-8")))
    return files


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Only pages with a diagram load it: it is large."""
    if 'class="mermaid"' not in html or files.get_file_from_path(SHOWN) is None:
        return html
    return f'<script src="{"../" * page.url.count("/")}{SHOWN}"></script>{html}'


def _fetch() -> None:
    npm = shutil.which("npm")
    if npm is None:
        log.info("no npm: diagrams are drawn by the theme's public copy of mermaid")
        return
    KEPT.parent.mkdir(parents=True, exist_ok=True)
    command = [npm, "pack", "--silent", RELEASE]
    done = subprocess.run(command, cwd=KEPT.parent, capture_output=True, text=True, check=False)
    if done.returncode:
        log.info("npm cannot fetch %s: diagrams are drawn by the theme's public copy of it", RELEASE)
        return
    packed = KEPT.parent / done.stdout.strip().splitlines()[-1]
    with tarfile.open(packed) as file:
        member = file.extractfile(INSIDE)
        assert member is not None
        KEPT.write_bytes(member.read())
    packed.unlink()
