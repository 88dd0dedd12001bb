"""A training that several processes share: what may be asked of it, and what it needs of this server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bitlm_core import ConfigError, EngineConfig, Parallel, TrainingConfig, TrainingPlan, check_parallel
from bitlm_mcp.compute.processes import Processes
from bitlm_mcp.workspace import Workspace


@dataclass(frozen=True)
class Sharing:
    """How many processes train, on how many machines, and how they share the work."""

    nproc: int
    nodes: int = 1
    parallel: Parallel = "ddp"

    def plain(self) -> dict[str, Any]:
        """What is recorded of it, which `recorded` reads."""
        return asdict(self)

    @classmethod
    def of(cls, nproc: int, nodes: int, parallel: Parallel) -> Sharing | None:
        """As a call asks for it; None where one process trains. Raises ConfigError where it could share with nobody."""
        if nproc * nodes > 1:
            return cls(nproc, nodes, parallel)
        if parallel != "ddp":
            raise ConfigError(
                f"parallel={parallel!r} shares the work of several processes: give nproc=2 or more, or leave it out"
            )
        return None

    @classmethod
    def recorded(cls, request: Mapping[str, Any]) -> Sharing | None:
        """What a recorded request says; None where one process trains."""
        told = request.get("sharing")
        return None if told is None else cls(**told)

    def check(self, workspace: Workspace, config: EngineConfig, plan: TrainingPlan, training: TrainingConfig) -> None:
        """Raise ConfigError for what these processes cannot train, or have no place to meet for."""
        check_parallel(config.model_copy(update={"training": training}), plan, self.parallel, self.nproc * self.nodes)
        if self.nodes > 1 and workspace.settings.rdzv_endpoint is None:
            raise ConfigError(
                f"nodes={self.nodes} must meet somewhere: start the server with --rdzv-endpoint HOST:PORT, this machine's name "
                "and a free port that the others reach, or use nodes=1"
            )

    def processes(self, workspace: Workspace, job_id: str) -> Processes:
        """The same for the compute side."""
        settings = workspace.settings
        return Processes(
            **asdict(self),
            folder=workspace.job_files.run_folder(job_id),
            endpoint=settings.rdzv_endpoint if self.nodes > 1 else None,
            device=settings.device,
            threads=settings.threads,
            shards_every_s=settings.shards_every_s,
            max_restarts=settings.max_restarts,
        )
