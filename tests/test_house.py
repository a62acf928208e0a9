"""The house itself: rooms, import contract, length of files, nothing of one machine in the text."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "ohmformer"
ROOMS = sorted(path.parent for path in PACKAGE.glob("*/__init__.py"))
SOURCES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / ".ci").glob("*.py")])
MAX_LINES = 500

# A character class or an escape keeps each pattern from matching its own text.
MACHINE_PATH = re.compile(r"(?<![\w./~-])/(?:[w]ork|[r]oot|[h]ome|[U]sers|[o]pt|[m]nt)/\w")
REGISTRY_HOST = re.compile(
    r"pypi\.org|pythonhosted\.org|download\.pytorch\.org|(?:[i]ndex-url)|registry\.npmjs|proxy\.golang|crates\.io"
)


def tracked_files() -> list[Path]:
    """Every file of the project that git would carry; without git, the sources and the top level."""
    listing = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
    )
    if listing.returncode == 0:
        files = [ROOT / name for name in listing.stdout.split("\0") if name]
    else:
        files = [*SOURCES, *ROOT.glob("*")]
    return [path for path in files if path.is_file()]


def is_text(path: Path) -> bool:
    return b"\0" not in path.read_bytes()[:8192]


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_room_says_what_it_is_and_what_it_offers(room: Path) -> None:
    readme = room / "README.md"
    assert readme.is_file(), f"{room.name} has no README.md"
    assert len(readme.read_text(encoding="utf-8").split()) >= 10
    tree = ast.parse((room / "__init__.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{room.name}/__init__.py has no docstring"
    names = [
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    assert "__all__" in names, f"{room.name}/__init__.py has no __all__"


def test_the_import_contracts_hold() -> None:
    """Run as a program of its own: the linter keeps global state."""
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_file_is_too_long(source: Path) -> None:
    count = len(source.read_text(encoding="utf-8").splitlines())
    assert count <= MAX_LINES, f"{source.relative_to(ROOT)} has {count} lines"


@pytest.mark.parametrize("pattern", [MACHINE_PATH, REGISTRY_HOST], ids=["machine path", "registry host"])
def test_the_text_names_no_machine_and_no_registry(pattern: re.Pattern[str]) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tracked_files()
        if is_text(path)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


def test_the_patterns_find_what_they_forbid() -> None:
    for text in ("see " + "/work" + "/x", "open('" + "/home" + "/me')"):
        assert MACHINE_PATH.search(text)
    assert not MACHINE_PATH.search("src" + "/work" + "/x and scores" + "/home" + "/me")
    assert REGISTRY_HOST.search("https://" + "pypi" + ".org/simple")
