"""inspect_patches: where data is cut, and why there."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context
from pydantic import Field

from bitlm_core import PatchingConfig
from bitlm_mcp.compute.patches import check_alone, patching_of
from bitlm_mcp.operations import patches as operations
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.tools.inference_results import PatchesResult
from bitlm_mcp.tools.job_results import next_call
from bitlm_mcp.tools.parameters import DataBase64, OptionalDatasetId, Text, WaitSeconds
from bitlm_mcp.tools.sources import given_data
from bitlm_mcp.tools.waiting import finished, off_loop
from bitlm_mcp.workspace import Workspace


def patch_tools(workspace: Workspace) -> list[ToolSpec]:
    """The tools of this module, bound to a workspace."""

    async def inspect_patches(
        ctx: Context[Any, Any],
        dataset_id: OptionalDatasetId = None,
        text: Text = None,
        data_base64: DataBase64 = None,
        model_id: Annotated[str | None, Field(max_length=64, description="A patch model; cuts as it does.")] = None,
        scheme: Annotated[
            Literal["entropy", "space", "fixed"] | None, Field(description="What ends a patch, else entropy.")
        ] = None,
        mean_patch_size: Annotated[
            float | None, Field(ge=1, le=1024, description="Bytes that the threshold is chosen for, else 4.")
        ] = None,
        entropy_threshold: Annotated[float | None, Field(ge=-16, le=16, description="In bits, instead.")] = None,
        monotonic: Annotated[bool | None, Field(description="Compare rises of entropy.")] = None,
        adaptive: Annotated[bool | None, Field(description="The threshold keeps the mean.")] = None,
        reset_context: Annotated[bool | None, Field(description="Look back within the line.")] = None,
        stride: Annotated[int | None, Field(ge=1, le=1024, description="Bytes of fixed ones.")] = None,
        min_patch_size: Annotated[int | None, Field(ge=1, le=1024, description="At least, bytes.")] = None,
        max_patch_size: Annotated[int | None, Field(ge=1, le=1024, description="At most, else 24.")] = None,
        first: Annotated[int, Field(ge=0, le=256, description="Tell so many patches.")] = 6,
        wait_s: WaitSeconds = 20,
    ) -> PatchesResult:
        """Cut data into patches as the patch model model_id does, or else by entropies fitted to that data: sizes, and the
        first patches.

        Give exactly one of dataset_id (all of it), text or data_base64. It is cut as one document; models read windows, whose
        first patches may end elsewhere.
        """
        given = {name: value for name, value in locals().items() if name in PatchingConfig.model_fields}
        if model_id is not None:
            check_alone(given, f"model_id={model_id!r}")
        patching = None if model_id is not None else patching_of(given)
        source = given_data(dataset_id, text, data_base64)
        job = await off_loop(operations.inspect_patches, workspace, source, patching, first, model_id)
        view = await finished(workspace, job.job_id, wait_s, ctx)
        return PatchesResult(job_id=view.job_id, status=view.status, next=next_call(view), **view.result or {})

    return [ToolSpec(inspect_patches, "Inspect patches", read_only=True, destructive=False, idempotent=True)]
