"""Where `bitlm train` puts what it has made: a checkpoint of the state directory, or a file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import bitlm_core
from bitlm_mcp.compression_commands import check_free
from bitlm_mcp.compute.engines import Entry
from bitlm_mcp.compute.messages import Saved
from bitlm_mcp.shell import refuse


@dataclass(frozen=True)
class Target:
    """Where a model goes: a file, or a checkpoint in a store."""

    name: str
    path: Path | None
    store: bitlm_core.CheckpointStore
    force: bool

    @property
    def folder(self) -> Path:
        """Where it may be written first."""
        return self.path.absolute().parent if self.path else self.store.scratch(self.name).parent

    @property
    def run_folder(self) -> Path:
        """Where processes that share its training have their files."""
        return (
            self.path.absolute().with_name(f".{self.path.name}.run")
            if self.path
            else self.store.root.parent / "runs" / self.name
        )

    def take(self, saved: Saved) -> None:
        """Make a saved state what was asked for."""
        if self.path is not None:
            bitlm_core.sync(saved.path)
            saved.path.replace(self.path)
            return
        facts = saved.facts.model_dump(mode="json") | {"model_id": self.name}
        self.store.publish(self.name, saved.path, step=saved.facts.step, summary=facts, overwrite=self.force)


def target_of(save_as: str | None, out: Path | None, state_dir: Path, force: bool) -> Target:
    """Where `--save-as` or `--out` have it. Raises ConfigError for both or none, or where something is there already."""
    store = bitlm_core.CheckpointStore(state_dir / "checkpoints")
    refuse((save_as is None) == (out is None), "name what to make: --save-as NAME in the state directory, or --out FILE")
    if out is not None:
        check_free(out, force)
    else:
        store.check_free(save_as or "", force)
    return Target(save_as or out.name if out else str(save_as), out, store, force)


def small_beside(target: Target, entry: Entry, plan: bitlm_core.TrainingPlan) -> Target | None:
    """Where the small model goes that the plan ends with; None where it ends without."""
    if plan.growing is None or not plan.growing.settings.ends_small:
        return None
    bitlm_core.check_ending(entry.engine.config, plan.growing.settings)
    name = f"{target.name}.small"
    out = target.path and target.path.with_name(f"{target.path.name}.small")
    return target_of(None if out else name, out, target.store.root.parent, target.force)
