"""score, infer, infer_long, diffusion_sample: what a model knows and makes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context
from pydantic import Field

from bitlm_core import SamplingConfig
from bitlm_mcp.compute.answers import FillingOutcome, GenerationOutcome
from bitlm_mcp.operations import reading as operations
from bitlm_mcp.operations.data import Source
from bitlm_mcp.results import Result
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.tools.coding_results import with_input
from bitlm_mcp.tools.inference_results import (
    DiffusionResult,
    InferLongResult,
    ScoreResult,
    filling_result,
)
from bitlm_mcp.tools.job_results import next_call
from bitlm_mcp.tools.parameters import (
    CompressInput,
    CompressOutput,
    DataBase64,
    ModelId,
    OptionalDatasetId,
    Prompt,
    PromptBase64,
    PromptBits,
    Records,
    Seed,
    Text,
    WaitSeconds,
    prompt_bytes,
    within_window,
)
from bitlm_mcp.tools.safety import answered, hand_over, mark_failed
from bitlm_mcp.tools.sources import given_data, given_long_input, unpacked
from bitlm_mcp.tools.templates import (
    DEFAULT_GAP,
    Constraint,
    DenoisingSteps,
    Gap,
    Gapped,
    GappedBase64,
    Method,
    NumBytes,
    Order,
    Prefix,
    Remask,
    Schedule,
    Suffix,
    Temperature,
    Trace,
    given_sampling,
    given_template,
)
from bitlm_mcp.tools.waiting import answer, finished, off_loop
from bitlm_mcp.workspace import Workspace

MAX_NEW_BYTES = 8_192


def inference_tools(workspace: Workspace) -> list[ToolSpec]:
    """The tools of this module, bound to a workspace."""

    async def score(
        ctx: Context[Any, Any],
        model_id: ModelId = "default",
        dataset_id: OptionalDatasetId = None,
        text: Text = None,
        data_base64: DataBase64 = None,
        records: Records = None,
        top: Annotated[int, Field(ge=1, le=100, description="How many odd ones to tell.")] = 5,
        adaptive: Annotated[bool, Field(description="Learn on, but nothing suspicious.")] = False,
        compress_input: CompressInput = None,
        wait_s: WaitSeconds = 20,
    ) -> ScoreResult:
        """Measure bits per byte of data under a model, and find its oddest records and bytes.

        Give exactly one of dataset_id (its held-out part is used), text or data_base64.
        """
        source = await unpacked(given_data(dataset_id, text, data_base64), compress_input, data_base64)
        job = await off_loop(operations.score, workspace, model_id, source, records=records, adaptive=adaptive, top=top)
        view = await finished(workspace, job.job_id, wait_s, ctx)
        found = ScoreResult(job_id=view.job_id, status=view.status, next=next_call(view), **view.result or {})
        return with_input(found, source)

    async def infer(
        ctx: Context[Any, Any],
        model_id: ModelId = "default",
        prompt: Prompt = None,
        prompt_base64: PromptBase64 = None,
        prompt_bits: PromptBits = None,
        max_new_bytes: Annotated[int, Field(ge=1, le=MAX_NEW_BYTES, description="How many.")] = 64,
        temperature: Annotated[
            float,
            Field(ge=0, le=10, description="0: the likeliest byte; 1: as believed."),
        ] = 1.0,
        top_p: Annotated[float, Field(gt=0, le=1, description="Nucleus sampling: total probability.")] = 1.0,
        constraint: Annotated[Literal["none", "utf8"], Field(description="utf8: the output stays valid text.")] = "none",
        seed: Seed = 0,
        safety: Annotated[
            Literal["off", "warn", "strict"],
            Field(description="warn reports broken floors, strict withholds."),
        ] = "off",
        attempts: Annotated[int, Field(ge=1, le=4, description="Retries until it passes.")] = 1,
        compress_input: CompressInput = None,
        compress_output: CompressOutput = None,
    ) -> Result:
        """Continue a prompt: give exactly one of prompt, prompt_base64 or prompt_bits."""
        settled = await answered(workspace, ctx)
        if settled is not None:
            return settled
        window = workspace.model(model_id).max_bytes
        prompted = Source(content=prompt_bytes(prompt, prompt_base64, prompt_bits))
        source = await unpacked(prompted, compress_input, prompt_base64)
        given = within_window(source.content or b"", window)
        sampling = SamplingConfig(temperature=temperature, top_p=top_p, constraint=constraint, seed=seed)
        job = operations.infer(workspace, model_id, given, max_new_bytes, sampling, safety, attempts, compress_output)
        found: GenerationOutcome = await answer(workspace, job, ctx)
        handed = await hand_over(workspace, ctx, model_id, found, strict=safety == "strict", note=job.note)
        return with_input(handed, source)

    async def infer_long(
        ctx: Context[Any, Any],
        model_id: ModelId = "default",
        prompt: Prompt = None,
        prompt_base64: PromptBase64 = None,
        prompt_bits: PromptBits = None,
        dataset_id: OptionalDatasetId = None,
        ctx_bits: Annotated[int, Field(ge=9, le=1_179_648, description="Bits seen at once, nine a byte.")] = 4096,
        overlap: Annotated[int, Field(ge=0, le=1_179_648, description="Bits that windows share.")] = 256,
        carry: Annotated[bool, Field(description="Carry keys and values on; reread nothing.")] = False,
        return_bytes: Annotated[int, Field(ge=0, le=65_536, description="Bits of so many bytes.")] = 256,
        return_windows: Annotated[int, Field(ge=0, le=1024, description="So many windows.")] = 8,
        compress_input: CompressInput = None,
        compress_output: CompressOutput = None,
        wait_s: WaitSeconds = 20,
    ) -> InferLongResult:
        """Predict every bit along an input of any length, with K, C, S and bits per byte of each window.

        Give exactly one of prompt, prompt_base64, prompt_bits or dataset_id (its held-out part is used).
        """
        given = given_long_input(prompt, prompt_base64, prompt_bits, dataset_id)
        source = await unpacked(given, compress_input, prompt_base64)
        sizes = {"ctx_bits": ctx_bits, "overlap": overlap, "first_bytes": return_bytes, "first_windows": return_windows}
        job = await off_loop(
            operations.infer_long, workspace, model_id, source, **sizes, carry=carry, compress_output=compress_output
        )
        view = await finished(workspace, job.job_id, wait_s, ctx)
        found = InferLongResult(job_id=view.job_id, status=view.status, next=next_call(view), **view.result or {})
        return with_input(found, source)

    async def diffusion_sample(
        ctx: Context[Any, Any],
        model_id: ModelId = "default",
        num_bytes: NumBytes = DEFAULT_GAP,
        steps: DenoisingSteps = 12,
        schedule: Schedule = "linear",
        prefix: Prefix = "",
        suffix: Suffix = "",
        template: Gapped = None,
        template_base64: GappedBase64 = None,
        gap: Gap = "_",
        method: Method = "mask",
        order: Order = None,
        remask: Remask = None,
        temperature: Temperature = 0.9,
        constraint: Constraint = "none",
        seed: Seed = 0,
        compress_output: CompressOutput = None,
        trace: Trace = False,
    ) -> DiffusionResult:
        """Fill bytes between a prefix and a suffix, or the gaps of a template, in a few parallel steps.

        Train with objective=diffusion first.
        """
        given = given_template(num_bytes, template, template_base64, gap, prefix, suffix)
        sampling = given_sampling(
            steps=steps,
            schedule=schedule,
            method=method,
            order=order,
            remask=remask,
            temperature=temperature,
            constraint=constraint,
            seed=seed,
        )
        job = operations.diffusion_sample(workspace, model_id, given, sampling, compress_output, traced=trace)
        found: FillingOutcome = await answer(workspace, job, ctx)
        mark_failed(workspace, model_id, found)
        return filling_result(found).model_copy(update={"note": job.note})

    return [
        ToolSpec(score, "Score", read_only=True, destructive=False, idempotent=True),
        ToolSpec(infer, "Generate", read_only=True, destructive=False, idempotent=True),
        ToolSpec(infer_long, "Predict along a long input", read_only=True, destructive=False, idempotent=True),
        ToolSpec(diffusion_sample, "Sample by diffusion", read_only=True, destructive=False, idempotent=True),
    ]
