"""Checkpoints of a run that several processes write at once, for that run to go on from after one of them was lost.

    FOLDER/step-000000120/                  what every process has of the network and the moments (torch.distributed.checkpoint)
    FOLDER/step-000000120/rest.safetensors  the rest of the engine, from the leader
    FOLDER/.saving                          one that is being written

Any number of processes, sharing the work in any way, can go on from one. The index that PyTorch writes is a pickle: these are
for the machines that wrote them, and never leave them. What is kept and passed on is the engine's own state, one safetensors
file.
"""

from __future__ import annotations

import errno
import shutil
import warnings
from pathlib import Path
from pickle import UnpicklingError

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load

from bitlm_core.checkpoint.format import read_file, write_file
from bitlm_core.distributed.trainer import SharedTrainer
from bitlm_core.engine import Engine
from bitlm_core.errors import CheckpointCorruptError, ResourceLimitError

KEPT = 2
"""The newest one may be damaged by the same fault that ends the run: then it can be removed."""
_REST = "rest.safetensors"


class Shards:
    """The sharded checkpoints of one run, in a folder that all its processes can reach."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, engine: Engine) -> Path:
        """Write one more; the leader's call while it leads, to which the others are summoned.

        Raises OSError where the disk of any of them refuses, or has no room.
        """
        trainer = engine.trainer
        assert isinstance(trainer, SharedTrainer)  # noqa: S101
        scratch = self.folder / ".saving"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        trainer.save_shards(scratch)
        tensors, header = engine.state(moments=False)
        ours = {f"model.{name}" for name, _ in trainer.model.named_parameters()}
        try:
            write_file(scratch / _REST, {name: value for name, value in tensors.items() if name not in ours}, header)
        except ResourceLimitError as error:
            raise OSError(errno.ENOSPC, str(error)) from error
        target = self.folder / f"step-{engine.step:09d}"
        shutil.rmtree(target, ignore_errors=True)
        scratch.rename(target)
        for old in self._complete()[:-KEPT]:
            shutil.rmtree(old)
        return target

    def newest(self) -> Path | None:
        """The newest one that was written to its end."""
        return next(reversed(self._complete()), None)

    def engine(self, device: str = "cpu") -> Engine | None:
        """The engine as the newest one has it; None where there is none. For every process, each on its own.

        Raises CheckpointCorruptError (a CheckpointError) or ModelStateError where it is damaged.
        """
        path = self.newest()
        if path is None:
            return None
        try:
            rest, header = read_file(path / _REST, path.name)
            return Engine.from_state(_read(path) | rest, header, device)
        except (CheckpointCorruptError, CheckpointException, EOFError, OSError, UnpicklingError) as error:
            raise CheckpointCorruptError(
                f"checkpoint {path} cannot be read ({type(error).__name__}): remove it to go on from the one before",
                name=path.name,
            ) from error

    def _complete(self) -> list[Path]:
        return sorted(self.folder.glob("step-*"))


def _read(path: Path) -> dict[str, Tensor]:
    """All tensors of a sharded checkpoint, whole."""
    reader = FileSystemReader(path)
    found = reader.read_metadata().state_dict_metadata
    tensors = {
        name: torch.empty(like.size, dtype=like.properties.dtype)
        for name, like in found.items()
        if isinstance(like, TensorStorageMetadata)
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that each process reads for itself is what is wanted
        load(tensors, storage_reader=reader, no_dist=True)
    return tensors
