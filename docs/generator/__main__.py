"""`python -m docs.generator [--check]`: write the generated parts, or list the stale ones."""

from __future__ import annotations

import sys

from docs.generator.parts import ROOT, stale


def main() -> int:
    """Run the command and return its exit code."""
    found = stale()
    for path, text in found.items():
        if "--check" in sys.argv[1:]:
            sys.stderr.write(f"docs: {path.relative_to(ROOT)} is stale: run scripts/docs\n")
        else:
            path.write_text(text)
            sys.stdout.write(f"docs: wrote {path.relative_to(ROOT)}\n")
    return 1 if found and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    raise SystemExit(main())
