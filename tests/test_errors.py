"""Files are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ohmformer.errors import UserError, reason_of, replace_atomically, write_atomically


def test_text_and_bytes_arrive_with_the_usual_permissions(tmp_path: Path) -> None:
    target = write_atomically(tmp_path / "a.txt", "größe\n")
    assert target.read_bytes() == "größe\n".encode()
    assert write_atomically(target, b"\x00\x01").read_bytes() == b"\x00\x01"
    mask = os.umask(0)
    os.umask(mask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~mask
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, error: type[BaseException]
) -> None:
    target = write_atomically(tmp_path / "a.txt", "old")

    def half(temporary: Path) -> None:
        temporary.write_text("ne")
        raise error

    with pytest.raises(error):
        replace_atomically(target, half)
    assert target.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"Cannot write .*a.txt: No space left on device\."):
        write_atomically(tmp_path / "a.txt", "text")
    assert list(tmp_path.iterdir()) == []


def test_targets_that_are_no_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it is a folder"):
        write_atomically(tmp_path, "text")
    with pytest.raises(UserError, match="No such file or directory"):
        write_atomically(tmp_path / "absent" / "a.txt", "text")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="not an ordinary file"):
        write_atomically(tmp_path / "pipe", "text")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("one.\ntwo"), "one"),
        (ValueError("Validation error for field 'a':\n\n    TypeError: not a number\n more"), None),
        (ValueError("one of:"), "one of"),
        (ValueError(""), "ValueError"),
        (ValueError(" :\n"), "ValueError"),
        (FileNotFoundError(2, "No such file or directory", "a/b"), "No such file or directory: a/b"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("of a library"), "of a library"),
    ],
)
def test_the_reason_of_an_error_ends_a_sentence(error: Exception, said: str | None) -> None:
    expected = "Validation error for field 'a': TypeError: not a number" if said is None else said
    assert reason_of(error) == expected
