"""compress and decompress: data made small with what a model knows, or alone, and given back exactly."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, get_args

from mcp.server.mcpserver import Context
from pydantic import Field

from bitlm_core import RECORDS_PATTERN, GeneralName
from bitlm_mcp.operations import compression as operations
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.snapshot import JobView
from bitlm_mcp.tools.coding_results import with_input
from bitlm_mcp.tools.inference_results import CompressResult, DecompressResult
from bitlm_mcp.tools.parameters import ID_PATTERN, Codec, CompressInput, DataBase64, OptionalDatasetId, Text, WaitSeconds
from bitlm_mcp.tools.sources import given_container, given_data, unpacked
from bitlm_mcp.tools.waiting import finished, off_loop
from bitlm_mcp.workspace import Workspace

Records = Annotated[str | None, Field(pattern=RECORDS_PATTERN, description="Each decodable alone, by the model.")]
OptionalModelId = Annotated[str | None, Field(max_length=64, description="What predicts; null: the data alone.")]


def compression_tools(workspace: Workspace) -> list[ToolSpec]:
    """The tools of this module, bound to a workspace."""

    async def compress(
        ctx: Context[Any, Any],
        model_id: OptionalModelId = None,
        dataset_id: OptionalDatasetId = None,
        text: Text = None,
        data_base64: DataBase64 = None,
        records: Records = None,
        codec: Codec = "model",
        compress_input: CompressInput = None,
        wait_s: WaitSeconds = 20,
    ) -> CompressResult:
        """Compress dataset_id, text or data_base64 without loss; read_output has the result."""
        source = await unpacked(given_data(dataset_id, text, data_base64), compress_input, data_base64)
        job = await off_loop(operations.compress, workspace, model_id, source, records, codec)
        view = await finished(workspace, job.job_id, wait_s, ctx)
        found = CompressResult(job_id=view.job_id, status=view.status, next=_after(view), **view.result or {})
        return with_input(found, source)

    async def decompress(
        ctx: Context[Any, Any],
        job_id: Annotated[str | None, Field(max_length=64, description="Of compress, for its output.")] = None,
        dataset_id: OptionalDatasetId = None,
        data_base64: DataBase64 = None,
        model_id: OptionalModelId = None,
        record: Annotated[int | None, Field(ge=0, description="Only this one, from 0.")] = None,
        save_as: Annotated[str | None, Field(pattern=ID_PATTERN, description="Store it as a new dataset.")] = None,
        codec: Codec = "model",
        wait_s: WaitSeconds = 20,
    ) -> DecompressResult:
        """Give back exactly what job_id, dataset_id or data_base64 was compressed from; read_output has all of it."""
        source = given_container(job_id, dataset_id, data_base64)
        begin = partial(operations.decompress, workspace, source, model_id, record=record, save_as=save_as, codec=codec)
        job = await off_loop(begin)
        view = await finished(workspace, job.job_id, wait_s, ctx)
        return DecompressResult(job_id=view.job_id, status=view.status, next=_after(view), **view.result or {})

    return [
        ToolSpec(compress, "Compress", read_only=True, destructive=False, idempotent=True),
        ToolSpec(decompress, "Decompress", read_only=False, destructive=False, idempotent=False),
    ]


def _after(view: JobView) -> str | None:
    """The call that usually follows; of what only a model's present state can decode, the one that keeps that state."""
    found = view.result or {}
    if not view.over:
        return f"wait_job(job_id={view.job_id!r})"
    if view.kind == "decompress":
        return f"read_output(job_id={view.job_id!r})" if found["num_bytes"] > operations.FIRST_BYTES else None
    if found["mode"] in ("model", "records"):
        return f"save_checkpoint(model_id={view.model_id!r}, name=…): only the model as it is now decodes this"
    codec = f", codec={found['mode']!r}" if found["mode"] in get_args(GeneralName) else ""
    return f"decompress(job_id={view.job_id!r}{codec})"
