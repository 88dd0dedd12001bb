"""repair: what damaged bytes most likely were."""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server.mcpserver import Context
from pydantic import Field

from bitlm_core import MARGIN_BITS
from bitlm_mcp.compute.messages import DamagedPlaces
from bitlm_mcp.compute.repair import ranges_of
from bitlm_mcp.operations import repair as operations
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.snapshot import JobView
from bitlm_mcp.tools.compression import OptionalModelId
from bitlm_mcp.tools.inference_results import RepairResult
from bitlm_mcp.tools.parameters import ID_PATTERN, DataBase64, OptionalDatasetId, Text, WaitSeconds, one_of
from bitlm_mcp.tools.sources import given_data
from bitlm_mcp.tools.waiting import finished, off_loop
from bitlm_mcp.workspace import Workspace


def repair_tools(workspace: Workspace) -> list[ToolSpec]:
    """The tools of this module, bound to a workspace."""

    async def repair(
        ctx: Context[Any, Any],
        model_id: OptionalModelId = None,
        dataset_id: OptionalDatasetId = None,
        text: Text = None,
        data_base64: DataBase64 = None,
        places: Annotated[list[str] | None, Field(max_length=4096, description="Of damage, each offset:length.")] = None,
        parity: Annotated[bool, Field(description="Of packed 9-bit groups.")] = False,
        surprising: Annotated[int | None, Field(ge=1, le=1_000_000, description="Examine so many odd bytes.")] = None,
        margin_bits: Annotated[float, Field(ge=0, le=1000, description="Gain it needs.")] = MARGIN_BITS,
        save_as: Annotated[str | None, Field(pattern=ID_PATTERN, description="Restored, as a new dataset.")] = None,
        wait_s: WaitSeconds = 20,
    ) -> RepairResult:
        """Propose what damaged bytes were: at places, where parity fails, or surprising ones."""
        source = given_data(dataset_id, text, data_base64)
        asked = _asked(places, parity, surprising, margin_bits)
        job = await off_loop(operations.repair, workspace, model_id, source, asked, save_as)
        view = await finished(workspace, job.job_id, wait_s, ctx)
        return RepairResult(job_id=view.job_id, status=view.status, next=_after(view), **view.result or {})

    return [ToolSpec(repair, "Repair", read_only=False, destructive=False, idempotent=False)]


def _asked(places: list[str] | None, parity: bool, surprising: int | None, margin_bits: float) -> DamagedPlaces:
    """Exactly one kind of places. Raises ConfigError for none or several."""
    given = {"places": places, "parity": parity or None, "surprising": surprising}
    one_of(**{name: None if value is None else name for name, value in given.items()})
    return DamagedPlaces(ranges=ranges_of(places or ()), parity=parity, surprising=surprising, margin_bits=margin_bits)


def _after(view: JobView) -> str | None:
    if not view.over:
        return f"wait_job(job_id={view.job_id!r})"
    more = (view.result or {}).get("num_proposals", 0) > operations.FIRST_PROPOSALS
    return f"read_output(job_id={view.job_id!r})" if more else None
