"""Files that callers may name: inside the allowed roots and nowhere else, whatever dots and links a path holds.

Against callers who name paths; not against other programs of the same user, who could swap a file between check and read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bitlm_core import ConfigError

CHUNK = 1 << 20

Documents = Iterable[Iterable[bytes]]
"""Data as its documents, each as its chunks."""


class DataFiles:
    """Everything under `roots`, which are resolved already."""

    def __init__(self, roots: tuple[Path, ...]) -> None:
        self.roots = roots

    def open(self, path: str) -> Documents:
        """A file, or all files of a folder in sorted order (hidden ones and links left out): each is a document.

        Raises ConfigError for a path that does not exist or leads outside the allowed roots.
        """
        with named_os_errors(f"the path {path[:80]!r}"):
            return map(_chunks, self._files(path))

    def _files(self, path: str) -> list[Path]:
        real = self._resolved(path)
        if real.is_dir():
            names = (file for file in sorted(real.rglob("*")) if not _hidden(file, real))
            return [file for file in names if file.is_file() and self._allowed(file.resolve())]
        if not real.is_file():
            raise ConfigError(f"{path!r} is neither a regular file nor a folder: name one that is")
        return [real]

    def _resolved(self, path: str) -> Path:
        given = Path(path).expanduser()
        candidates = [given] if given.is_absolute() else [root / given for root in self.roots]
        inside = [real for real in (candidate.resolve() for candidate in candidates) if self._allowed(real)]
        if not inside:
            roots = ", ".join(str(root) for root in self.roots) or "none"
            raise ConfigError(
                f"{path!r} lies outside the folders that may be read ({roots}): move the file there, "
                "pass the data itself, or start the server with --allow-dir"
            )
        real = next((candidate for candidate in inside if candidate.exists()), None)
        if real is None:
            raise ConfigError(f"there is no file or folder {path!r} in the folders that may be read: check the name")
        return real

    def _allowed(self, real: Path) -> bool:
        return any(real.is_relative_to(root) for root in self.roots)


@contextmanager
def named_os_errors(what: str) -> Iterator[None]:
    """Around what the operating system may refuse: names it cannot hold, files it does not show, disks that are full."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{what} cannot be read or stored ({error.strerror}): check the name, the rights, the disk"
        ) from error
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f"{what} cannot be read ({error}): check the name") from error


def _hidden(file: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(root).parts) or file.is_symlink()


def _chunks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk
