"""Write the table of docs/validation.md (``--check``: compare instead, exit code 1 if it differs)."""

from __future__ import annotations

import sys
from pathlib import Path

from ohmformer.costs.validation import validation_markdown
from ohmformer.errors import write_atomically

PAGE = Path(__file__).parents[1] / "docs" / "validation.md"
START, END = "<!-- table -->", "<!-- end -->"


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(START)
    after = rest.split(END)[1]
    text = f"{before}{START}\n{validation_markdown()}\n{END}{after}"
    if "--check" in sys.argv[1:]:
        sys.exit(page != text)
    write_atomically(PAGE, text)


if __name__ == "__main__":
    main()
