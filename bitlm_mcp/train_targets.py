"""Where `bitlm train` puts what it makes: a checkpoint of the state directory, or a file."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer

import bitlm_core
from bitlm_core import BitLMError, ConfigError
from bitlm_mcp.compression_commands import check_free
from bitlm_mcp.compute.engines import Entry
from bitlm_mcp.compute.messages import Saved
from bitlm_mcp.shell import refuse


@dataclass
class Target:
    """Where a model goes: a file, or a checkpoint in a store. `replaces`: what is there already."""

    name: str
    path: Path | None
    store: bitlm_core.CheckpointStore
    replaces: bool

    @property
    def folder(self) -> Path:
        """Where it may be written first."""
        return self.path.absolute().parent if self.path else self.store.scratch(self.name).parent

    @property
    def file(self) -> Path:
        """What was made."""
        return self.path or self.store.verified_path(self.name)

    @property
    def run_folder(self) -> Path:
        """Where processes that share its training have their files."""
        return (
            self.path.absolute().with_name(f".{self.path.name}.run")
            if self.path
            else self.store.root.parent / "runs" / self.name
        )

    def check_free(self) -> None:
        """Raise ConfigError or CheckpointError where something is there that must stay."""
        if self.path is not None:
            check_free(self.path, self.replaces)
        else:
            self.store.check_free(self.name, self.replaces)

    @contextmanager
    def held(self) -> Iterator[Path]:
        """A folder for files of the training that makes it; afterwards it is gone.

        Raises as `check_free`, and ConfigError where another command makes the same.
        """
        self.check_free()
        bitlm_core.make_folder(self.run_folder)
        with ExitStack() as stack:
            try:
                stack.enter_context(bitlm_core.alone_in(self.run_folder, wait=False))
            except BlockingIOError:
                what = self.path or f"checkpoint {self.name!r}"
                raise ConfigError(f"another command is making {what}: choose another name, or wait for its end") from None
            stack.callback(shutil.rmtree, self.run_folder, ignore_errors=True)
            yield self.run_folder / "processes"

    def take(self, saved: Saved) -> None:
        """Make a saved state what was asked for; the next one replaces it. Raises BitLMError or OSError; then it is gone."""
        try:
            self.check_free()
            if self.path is not None:
                bitlm_core.sync(saved.path)
                saved.path.replace(self.path)
                bitlm_core.sync(self.folder)
            else:
                facts = saved.facts.model_dump(mode="json") | {"model_id": self.name}
                self.store.publish(self.name, saved.path, step=saved.facts.step, summary=facts, overwrite=self.replaces)
        finally:
            saved.path.unlink(missing_ok=True)
        self.replaces = True

    def keep(self, saved: Saved | None) -> None:
        """As `take`, while the training goes on: where that cannot be it is told, and a later state is tried."""
        try:
            if saved is not None:
                self.take(saved)
        except (BitLMError, OSError) as error:
            typer.echo(f"bitlm: not saved: {error}", err=True)


def target_of(save_as: str | None, out: Path | None, state_dir: Path, force: bool) -> Target:
    """Where `--save-as` or `--out` have it. Raises ConfigError for both or none."""
    store = bitlm_core.CheckpointStore(state_dir / "checkpoints")
    refuse((save_as is None) == (out is None), "name what to make: --save-as NAME in the state directory, or --out FILE")
    return Target(save_as or out.name if out else str(save_as), out, store, force)


def small_beside(target: Target, entry: Entry, plan: bitlm_core.TrainingPlan) -> Target | None:
    """Where the small model goes that the plan ends with; None where it ends without. Raises as `Target.check_free`."""
    if plan.growing is None or not plan.growing.settings.ends_small:
        return None
    bitlm_core.check_ending(entry.engine.config, plan.growing.settings)
    name = f"{target.name}.small"
    out = target.path and target.path.with_name(f"{target.path.name}.small")
    small = target_of(None if out else name, out, target.store.root.parent, target.replaces)
    small.check_free()
    return small
