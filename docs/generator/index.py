"""The list of the documents in a folder, with title and first sentence."""

from __future__ import annotations

import re
from pathlib import Path


def of(folder: Path) -> str:
    """Return a list of links, relative to the parent folder."""
    return "\n".join(_line(path, folder.parent) for path in sorted(folder.glob("*.md")))


def _line(path: Path, base: Path) -> str:
    title, _, rest = path.read_text().partition("\n")
    return f"- [{title.removeprefix('# ')}]({path.relative_to(base)}): {_first_sentence(rest)}"


def _first_sentence(text: str) -> str:
    paragraph = " ".join(text.strip().partition("\n\n")[0].split())
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", paragraph)  # links are relative to the document's own folder
    sentence = re.split(r"(?<=\.)\s", plain)[0].rstrip(":.")
    return f"{sentence}."
