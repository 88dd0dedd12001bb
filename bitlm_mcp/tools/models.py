"""init_model, list_models: which models there are."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context
from pydantic import Field

from bitlm_core import ConfigError, EngineConfig, MixingConfig, preset_config
from bitlm_mcp.operations import models as operations
from bitlm_mcp.results import FiniteOrNone, Result
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.snapshot import ModelView
from bitlm_mcp.tools import network
from bitlm_mcp.tools.parameters import Limit, NewModelId, Offset, Overwrite, Seed
from bitlm_mcp.tools.waiting import answer, off_loop
from bitlm_mcp.workspace import Workspace


class InitResult(Result):
    """A fresh model."""

    model_id: str
    num_parameters: int
    flops_per_byte: Annotated[FiniteOrNone, Field(description="Operations of a forward pass for each byte.")] = None
    memory_estimate_bytes: int
    config: dict[str, Any]
    version: int
    step: int
    next: str


class ModelSummary(Result):
    """One model in a list."""

    model_id: str
    architecture: str
    num_parameters: int
    state: str
    step: int
    loss: FiniteOrNone = None
    bits_per_byte: FiniteOrNone = None
    job_id: str | None = None
    quantized: str | None = None


class ModelList(Result):
    """Some models, checkpoints and datasets, in the order of their names; and how many there are of each."""

    models: list[ModelSummary]
    checkpoints: list[str]
    datasets: list[str]
    totals: dict[str, int]
    version: int
    next: str | None = None


class DeleteResult(Result):
    """Something that is gone."""

    kind: str
    name: str
    version: int


_NETWORK = (
    *("d_model", "nhead", "num_layers", "dim_feedforward", "max_seq_len", "dropout", "position", "attention", "chunk_size"),
    *("overlap", "reversible", "use_checkpoint", "use_act", "act_threshold", "ngram_rows", "diffusion", "patching"),
    *("mean_patch_size", "entropy_threshold", "stride", "max_patch_size", "monotonic", "reset_context", "encoder_layers"),
    *("global_layers", "decoder_layers", "ngram_vocab_size"),
)
"""What of init_model's arguments describes the network."""


def model_tools(workspace: Workspace) -> list[ToolSpec]:
    """The tools of this module, bound to a workspace."""

    async def init_model(
        ctx: Context[Any, Any],
        model_id: NewModelId = "default",
        architecture: network.Architecture = "byte",
        preset: network.Preset = network.DEFAULT_PRESET,
        d_model: network.Width = None,
        nhead: network.Heads = None,
        num_layers: network.Layers = None,
        dim_feedforward: network.FeedForward = None,
        max_seq_len: network.Window = None,
        dropout: network.Dropout = None,
        attention: network.Attention = None,
        chunk_size: network.ChunkSize = None,
        overlap: network.Overlap = None,
        reversible: network.Reversible = None,
        use_checkpoint: network.UseCheckpoint = None,
        use_act: network.UseAct = None,
        act_threshold: network.ActThreshold = None,
        position: network.Position = None,
        ngram_rows: network.NgramRows = None,
        diffusion: network.Diffusion = None,
        patching: network.Patching = None,
        mean_patch_size: network.MeanPatchSize = None,
        entropy_threshold: network.EntropyThreshold = None,
        stride: network.Stride = None,
        max_patch_size: network.MaxPatchSize = None,
        monotonic: network.Monotonic = None,
        reset_context: network.ResetContext = None,
        encoder_layers: network.EncoderLayers = None,
        global_layers: network.GlobalLayers = None,
        decoder_layers: network.DecoderLayers = None,
        ngram_vocab_size: network.NgramVocab = None,
        context_mixing: network.ContextMixing = True,
        mixing_memory_mib: network.MixingMemory = None,
        seed: Seed = 0,
        overwrite: Overwrite = False,
    ) -> InitResult:
        """Create a fresh model; the defaults suit text and records alike."""
        asked = locals()
        fields = {name: asked[name] for name in _NETWORK}
        sizes = None if architecture == "mix" and preset == network.DEFAULT_PRESET else preset
        model = preset_config(sizes, architecture, **fields)
        config = EngineConfig(model=model, mixing=_mixing(context_mixing, mixing_memory_mib), seed=seed)
        job = await off_loop(operations.create_model, workspace, model_id, config, overwrite=overwrite)
        await answer(workspace, job, ctx)
        return _created(workspace, model_id)

    async def list_models(limit: Limit = 5, offset: Offset = 0) -> ModelList:
        """List models, saved checkpoints and datasets, by name."""
        snapshot = workspace.snapshot
        models, checkpoints, datasets = sorted(snapshot.models), sorted(snapshot.checkpoints), sorted(snapshot.datasets)
        totals = {"models": len(models), "checkpoints": len(checkpoints), "datasets": len(datasets)}
        shown = slice(offset, offset + limit)
        return ModelList(
            models=[_summary(snapshot.models[model_id]) for model_id in models[shown]],
            checkpoints=checkpoints[shown],
            datasets=datasets[shown],
            totals=totals,
            version=snapshot.version,
            next=f"list_models(offset={offset + limit})" if offset + limit < max(totals.values()) else None,
        )

    async def delete(
        kind: Annotated[Literal["model", "checkpoint", "dataset"], Field(description="What kind of thing to remove.")],
        name: Annotated[str, Field(max_length=64, description="Its model_id, name or dataset_id.")],
    ) -> DeleteResult:
        """Remove a model, a checkpoint or a dataset for ever. A model that is being trained is refused."""
        await off_loop(operations.delete, workspace, kind, name)
        return DeleteResult(kind=kind, name=name, version=workspace.snapshot.version)

    return [
        ToolSpec(init_model, "Create a model", read_only=False, destructive=True, idempotent=False),
        ToolSpec(list_models, "List models", read_only=True, destructive=False, idempotent=True),
        ToolSpec(delete, "Delete", read_only=False, destructive=True, idempotent=True),
    ]


def _mixing(wanted: bool, memory_mib: int | None) -> MixingConfig | None:
    """What is asked for. Raises ConfigError for memory of nothing."""
    if not wanted and memory_mib is not None:
        raise ConfigError(f"mixing_memory_mib={memory_mib} has no meaning with context_mixing=false: give one of them")
    if not wanted:
        return None
    return MixingConfig() if memory_mib is None else MixingConfig(memory_mib=memory_mib)


def _summary(model: ModelView) -> ModelSummary:
    return ModelSummary(
        model_id=model.model_id,
        architecture=model.architecture,
        num_parameters=model.num_parameters,
        state=model.state,
        step=model.step,
        loss=model.latest("loss"),
        bits_per_byte=model.latest("bits_per_byte"),
        job_id=model.job_id,
        quantized=model.quantized,
    )


def _created(workspace: Workspace, model_id: str) -> InitResult:
    view = workspace.model(model_id)
    return InitResult(
        model_id=model_id,
        num_parameters=view.num_parameters,
        flops_per_byte=view.flops_per_byte,
        memory_estimate_bytes=view.memory_estimate_bytes,
        config=view.config,
        version=workspace.snapshot.version,
        step=view.step,
        next=f"train_step(model_id={model_id!r}, dataset_id=…)",
    )
