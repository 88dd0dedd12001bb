"""show_surprise: where data surprises a model."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server.mcpserver import Context
from pydantic import Field

from bitlm_mcp.operations import surprise as operations
from bitlm_mcp.schemas import RARE, ToolSpec
from bitlm_mcp.tools.inference_results import SurpriseResult
from bitlm_mcp.tools.job_results import next_call
from bitlm_mcp.tools.parameters import DataBase64, ModelId, OptionalDatasetId, Text
from bitlm_mcp.tools.sources import given_data
from bitlm_mcp.tools.waiting import finished, off_loop
from bitlm_mcp.workspace import Workspace

FAR = 2**53
"""As far as offsets go."""


def surprise_tools(workspace: Workspace) -> list[ToolSpec]:
    """The tools of this module, bound to a workspace."""

    async def show_surprise(
        ctx: Context[Any, Any],
        model_id: ModelId = "default",
        dataset_id: OptionalDatasetId = None,
        text: Text = None,
        data_base64: DataBase64 = None,
        offset: Annotated[int, Field(ge=0, le=FAR, description="Look from here.")] = 0,
        num_bytes: Annotated[int, Field(ge=1, le=1 << 20, description="How many.")] = 65_536,
        cells: Annotated[int, Field(ge=1, le=4096, description="In so many, at most.", json_schema_extra=RARE)] = 256,
        shown_at: Annotated[
            int | None, Field(ge=0, le=FAR, description="Tell bytes one by one from here, else offset.", json_schema_extra=RARE)
        ] = None,
        shown: Annotated[int, Field(ge=1, le=8192, description="So many of them.", json_schema_extra=RARE)] = 256,
        wait_s: Annotated[float, Field(ge=0, le=600, description="Then a job_id.", json_schema_extra=RARE)] = 20,
    ) -> SurpriseResult:
        """Show what each byte of data costs a model, frozen: peaks and means of cells, and bytes, in 1/16 bit.

        Give exactly one of dataset_id (its held-out part, if any), text or data_base64. Bytes before offset are context.
        """
        source = given_data(dataset_id, text, data_base64)
        where: dict[str, Any] = {"offset": offset, "num_bytes": num_bytes, "shown_at": shown_at}
        job = await off_loop(operations.show_surprise, workspace, model_id, source, **where, cells=cells, shown=shown)
        view = await finished(workspace, job.job_id, wait_s, ctx)
        known = {"model_id": model_id} | (view.result or {})
        return SurpriseResult(job_id=view.job_id, status=view.status, next=next_call(view), **known)

    return [ToolSpec(show_surprise, "Show surprise", read_only=True, destructive=False, idempotent=True)]
