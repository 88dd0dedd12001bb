"""Which files callers may name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bitlm_core import ConfigError
from bitlm_mcp.data_files import DataFiles


@pytest.fixture
def files(tmp_path: Path) -> DataFiles:
    (tmp_path / "allowed" / "sub").mkdir(parents=True)
    (tmp_path / "allowed" / "b.txt").write_bytes(b"second")
    (tmp_path / "allowed" / "a.txt").write_bytes(b"first ")
    (tmp_path / "allowed" / ".hidden").write_bytes(b"hidden")
    (tmp_path / "allowed" / "sub" / "c.bin").write_bytes(b" third")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (tmp_path / "allowed" / "link.txt").symlink_to(tmp_path / "secret.txt")
    (tmp_path / "allowed" / "way-out").symlink_to(tmp_path)
    return DataFiles((tmp_path / "allowed",))


def read(files: DataFiles, path: str) -> list[bytes]:
    return [b"".join(document) for document in files.open(path)]


@pytest.mark.parametrize("path", ["a.txt", "./a.txt", "sub/../a.txt"])
def test_files_inside_the_roots_are_read(files: DataFiles, path: str) -> None:
    assert read(files, path) == [b"first "]
    assert read(files, str(files.roots[0] / path)) == [b"first "]


def test_a_folder_is_read_in_order_without_hidden_files_and_links(files: DataFiles) -> None:
    assert read(files, ".") == [b"first ", b"second", b" third"]


@pytest.mark.parametrize(
    "path", ["../secret.txt", "/etc/passwd", "link.txt", "way-out/secret.txt", "..", "~root", "sub/../../secret.txt"]
)
def test_nothing_outside_the_roots_is_read(files: DataFiles, path: str) -> None:
    with pytest.raises(ConfigError, match="outside the folders"):
        files.open(path)


def test_what_is_not_there_or_no_file_is_named(files: DataFiles) -> None:
    with pytest.raises(ConfigError, match=r"no file or folder 'none\.txt'"):
        files.open("none.txt")
    os.mkfifo(files.roots[0] / "pipe")
    with pytest.raises(ConfigError, match="neither a regular file"):
        files.open("pipe")


@pytest.mark.parametrize("path", ["x" * 300, "a\0b", "~nosuch/x", "loop/x"])
def test_names_that_the_system_refuses_are_bad_arguments(files: DataFiles, path: str) -> None:
    (files.roots[0] / "loop").symlink_to("loop")
    with pytest.raises(ConfigError):
        files.open(path)
