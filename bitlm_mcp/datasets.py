"""Named data in the state directory: copied once, split once, then only mapped.

    datasets/ID/<random>.data   the bytes
    datasets/ID/about.json      which file is current, its split, its documents, how often each byte occurs in what is learned

Data files never change, and none ever takes the name of another; about.json is replaced as a whole. So a dataset is always
either the old one or the new one, and the file of the one before stays for whoever has just been told its name.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from pydantic import ValidationError

from bitlm_core import (
    NAME_PATTERN,
    BitLMError,
    ConfigError,
    change_within,
    create_text,
    digest_of,
    make_folder,
    remove_within,
    replace_text,
    sweep_folders,
)
from bitlm_mcp.compute.messages import DataPart
from bitlm_mcp.data_files import Documents, named_os_errors
from bitlm_mcp.dataset_files import About, store_bytes, told_statistics
from bitlm_mcp.errors import UnknownHandleError
from bitlm_mcp.snapshot import DatasetView

_ABOUT = "about.json"


class DatasetError(BitLMError):
    """A dataset whose files are damaged; `dataset_id` says which."""

    dataset_id: str


class DatasetStore:
    """All datasets under `root` (created when the first one is added)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._replacing = threading.Lock()
        self._checked: dict[str, tuple[str, int]] = {}
        """Of each dataset the file whose digest was right last, and the time it had then."""

    def add(
        self,
        dataset_id: str,
        documents: Documents,
        *,
        source: str,
        holdout_fraction: float,
        overwrite: bool,
        records: str | None = None,
        guard: Callable[[DatasetView], AbstractContextManager[object]] = nullcontext,
    ) -> DatasetView:
        """Store documents (or with `records` their records) one after the other; hold the last `holdout_fraction` back.

        Raises ConfigError; nothing is changed then. The moment that counts happens inside `guard`, which may refuse it at
        its beginning or its end.
        """
        self.check_free(dataset_id, overwrite)
        with named_os_errors("the data"):
            make_folder(self.root)
            scratch = Path(tempfile.mkdtemp(prefix=".adding-", dir=self.root))
            try:
                free = shutil.disk_usage(self.root).free
                about = store_bytes(documents, scratch, holdout_fraction, source, free, records)
                with self._replacing:
                    self.check_free(dataset_id, overwrite)
                    about = self._install(dataset_id, scratch, about, overwrite, guard)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
        return _view(dataset_id, about)

    def sweep(self) -> None:
        """Remove what servers that were killed left behind. Only for when nobody writes: it would be taken for left behind."""
        for dataset_id, about in self._all().items():  # of a damaged one nobody knows what is left over
            for file in self._folder(dataset_id).iterdir():
                if file.name not in (_ABOUT, about.file, about.previous):
                    file.unlink()
        for scratch in self.root.glob(".adding-*"):
            shutil.rmtree(scratch, ignore_errors=True)
        sweep_folders(self.root)

    def check_free(self, dataset_id: str, overwrite: bool) -> None:
        """Raise UnknownHandleError for an id that cannot be, ConfigError for one that is taken and is not to be replaced."""
        if (self._folder(dataset_id) / _ABOUT).exists() and not overwrite:
            raise _taken(dataset_id)

    def _install(
        self,
        dataset_id: str,
        scratch: Path,
        about: About,
        overwrite: bool,
        guard: Callable[[DatasetView], AbstractContextManager[object]],
    ) -> About:
        folder = self._folder(dataset_id)
        before = self._about_or_none(dataset_id)
        about = about.model_copy(update={"previous": before.file if before else None})
        text, write = about.model_dump_json(), replace_text if overwrite else create_text

        def change() -> None:
            make_folder(folder)
            (scratch / "data").replace(folder / about.file)  # in here, where nobody can remove the folder between the two
            write(folder / _ABOUT, text, scratch / _ABOUT)

        try:
            change_within(guard(_view(dataset_id, about)), folder / _ABOUT, change, scratch / "before")
        except BaseException as error:
            (folder / about.file).unlink(missing_ok=True)
            if isinstance(error, FileExistsError):  # another server was quicker
                raise _taken(dataset_id) from None
            raise
        if before and before.previous:
            # Of all other files, one may be what another server is about to install.
            (folder / before.previous).unlink(missing_ok=True)
        return about

    def part(self, dataset_id: str, *, holdout: bool | None) -> DataPart:
        """The bytes to learn from, or those held back; None: all of them.

        Raises UnknownHandleError, DatasetError, or ConfigError when none were held back. Reads all data at the first time.
        """
        about = self._about(dataset_id)
        while not self._as_stored(dataset_id, about):
            before, about = about, self._about(dataset_id)
            if about == before:  # else it was replaced between two looks
                raise DatasetError(
                    f"dataset {dataset_id!r} is damaged: its data is not what was stored; add it again with overwrite=true",
                    dataset_id=dataset_id,
                )
        if holdout and about.train_bytes == about.num_bytes:
            raise ConfigError(
                f"dataset {dataset_id!r} has no held-out part: add it again with overwrite=true and a larger holdout_fraction"
            )
        if holdout is None:
            start, end, digest = 0, about.num_bytes, about.sha256
        elif holdout:
            start, end, digest = about.train_bytes, about.num_bytes, about.holdout_sha256
        else:
            start, end, digest = 0, about.train_bytes, about.train_sha256
        return DataPart(
            path=self._folder(dataset_id) / about.file,
            start=start,
            end=end,
            digest=digest,
            counts=about.train_counts if holdout is False else None,
            document_starts=about.starts_within(start, end),
        )

    def _as_stored(self, dataset_id: str, about: About) -> bool:
        """Whether the data is what was stored; all of it is read once, and again when the file has been touched."""
        path = self._folder(dataset_id) / about.file
        try:
            now = path.stat()
            if self._checked.get(dataset_id) == (about.file, now.st_mtime_ns):
                return True
            if now.st_size != about.num_bytes or digest_of(path) != about.sha256:
                return False
        except OSError:
            return False
        self._checked[dataset_id] = (about.file, now.st_mtime_ns)
        return True

    def intact(self, dataset_id: str) -> bool:
        """Whether the bytes are those that were stored; reads all of them. Raises UnknownHandleError or DatasetError."""
        about = self._about(dataset_id)
        with _whole(dataset_id):
            return digest_of(self._folder(dataset_id) / about.file) == about.sha256

    def ids(self) -> list[str]:
        """Ids of all datasets, damaged ones included, sorted."""
        return sorted(path.parent.name for path in self.root.glob(f"[!.]*/{_ABOUT}"))

    def delete(self, dataset_id: str, guard: AbstractContextManager[object] | None = None) -> None:
        """Remove a dataset inside `guard`, as `add` has it. Raises UnknownHandleError, or ConfigError."""
        folder = self._folder(dataset_id)
        if dataset_id not in self.ids():
            raise UnknownHandleError("dataset", dataset_id, self.ids(), "call list_models for what there is")
        with named_os_errors(f"dataset {dataset_id!r}"):
            remove_within(guard or nullcontext(), folder)

    def views(self) -> dict[str, DatasetView]:
        """All datasets by id; damaged ones are left out, and named when they are asked for."""
        return {dataset_id: _view(dataset_id, about) for dataset_id, about in self._all().items()}

    def _all(self) -> dict[str, About]:
        found = {dataset_id: self._about_or_none(dataset_id) for dataset_id in self.ids()}
        return {dataset_id: about for dataset_id, about in found.items() if about}

    def _folder(self, dataset_id: str) -> Path:
        if not re.fullmatch(NAME_PATTERN, dataset_id):
            raise UnknownHandleError("dataset", dataset_id, self.ids(), "names are 1 to 64 of a-z 0-9 . _ -")
        return self.root / dataset_id

    def _about(self, dataset_id: str) -> About:
        path = self._folder(dataset_id) / _ABOUT
        if not path.exists():
            raise UnknownHandleError("dataset", dataset_id, self.ids(), "call add_dataset first")
        with _whole(dataset_id):
            return About.model_validate_json(path.read_text("utf-8"))

    def _about_or_none(self, dataset_id: str) -> About | None:
        try:
            return self._about(dataset_id)
        except (DatasetError, UnknownHandleError):
            return None


def _taken(dataset_id: str) -> ConfigError:
    return ConfigError(f"dataset {dataset_id!r} exists already: choose another dataset_id or pass overwrite=true")


@contextmanager
def _whole(dataset_id: str) -> Iterator[None]:
    """Around the reading of a stored dataset: whatever is wrong with its files is damage, and named."""
    try:
        yield
    except (OSError, ValueError, ValidationError) as error:
        raise DatasetError(
            f"dataset {dataset_id!r} is damaged ({type(error).__name__}): add it again with overwrite=true",
            dataset_id=dataset_id,
        ) from error


def _view(dataset_id: str, about: About) -> DatasetView:
    return DatasetView(
        dataset_id=dataset_id,
        num_bytes=about.num_bytes,
        train_bytes=about.train_bytes,
        holdout_bytes=about.num_bytes - about.train_bytes,
        sha256=about.sha256,
        source=about.source,
        num_documents=about.num_documents,
        statistics=told_statistics(about.statistics),
    )
