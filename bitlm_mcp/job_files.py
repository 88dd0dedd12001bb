"""Large things that belong to a job: data that came with its call, and what it has made.

jobs/JOB_ID/input     kept so that a training can go on after a restart
jobs/JOB_ID/output    read piece by piece with read_output
jobs/JOB_ID/run/      of a training in processes of its own, while it runs
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from bitlm_core import ConfigError, bytes_in_memory, make_folder, sync
from bitlm_mcp.compute.messages import DataPart
from bitlm_mcp.data_files import named_os_errors
from bitlm_mcp.errors import UnknownHandleError

_JOB_ID = r"job-[A-Za-z0-9_-]{1,64}"
_CHUNK = 1 << 20


class JobFiles:
    """All job folders under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def keep_input(self, job_id: str, data: bytes) -> DataPart:
        """Write down, and sync, the data of a call. Raises ConfigError when there is none, or where the disk refuses."""
        path = self._folder(job_id) / "input"
        part = _part(path, data)
        with named_os_errors("the data of the call"):
            make_folder(path.parent)
            path.write_bytes(data)
            sync(path)
            sync(path.parent)
        return part

    def input(self, job_id: str) -> DataPart:
        """What `keep_input` wrote down. Raises ConfigError when it has gone."""
        path = self._folder(job_id) / "input"
        with named_os_errors(f"the data of {job_id}"):
            return _part(path, path.read_bytes())

    def drop_input(self, job_id: str) -> None:
        """Remove the data of a call that nobody will need again."""
        (self._folder(job_id) / "input").unlink(missing_ok=True)
        with suppress(OSError):  # there is an output beside it, or there was no data
            self._folder(job_id).rmdir()

    def run_folder(self, job_id: str) -> Path:
        """Where the processes of a training that several share have their files, see `compute.processes`."""
        return self._folder(job_id) / "run"

    def output(self, job_id: str) -> Path:
        """Where a job writes what it makes."""
        path = self._folder(job_id) / "output"
        with named_os_errors("the output of the job"):
            path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def read_output(self, job_id: str, offset: int, limit: int) -> tuple[bytes, int]:
        """At most `limit` bytes from `offset` on, and how many there are in all. Raises UnknownHandleError or ConfigError."""
        path = self._made(job_id)
        with named_os_errors("the output of the job"), path.open("rb") as file:
            total = path.stat().st_size
            if offset > total:
                raise ConfigError(f"offset={offset:,} lies behind the end: the output has {total:,} bytes")
            file.seek(offset)
            return file.read(limit), total

    def output_part(self, job_id: str) -> DataPart:
        """All that a job has made. Raises UnknownHandleError or ConfigError."""
        path = self._made(job_id)
        with named_os_errors("the output of the job"):
            return _part(path, path.read_bytes())

    def output_chunks(self, job_id: str) -> Iterator[bytes]:
        """All that a job has made, chunk by chunk."""
        with (self._folder(job_id) / "output").open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    def forget(self, job_ids: Iterable[str]) -> None:
        """Remove what belonged to these jobs."""
        for job_id in job_ids:
            shutil.rmtree(self._folder(job_id), ignore_errors=True)

    def sweep(self, known: set[str]) -> None:
        """Remove folders of jobs that nobody knows, and of runs. Only for when nobody makes jobs: one that is about to be known
        has one.
        """
        self.forget(folder.name for folder in self.root.glob("job-*") if folder.name not in known)
        for run in self.root.glob("job-*/run"):
            shutil.rmtree(run, ignore_errors=True)

    def _folder(self, job_id: str) -> Path:
        return self.root / job_id

    def _made(self, job_id: str) -> Path:
        path = self._folder(job_id) / "output"
        if not re.fullmatch(_JOB_ID, job_id) or not path.is_file():
            text = "only infer_long, compress, decompress and repair make one, when they have completed"
            raise UnknownHandleError("output of job", job_id, (), text)
        return path


def _part(path: Path, data: bytes) -> DataPart:
    about = bytes_in_memory(data)
    counts = None if about.counts is None else tuple(about.counts.tolist())
    return DataPart(path=path, start=0, end=len(data), digest=about.digest, counts=counts)
