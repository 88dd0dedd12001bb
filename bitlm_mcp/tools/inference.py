"""evaluate, infer, infer_long, diffusion_sample: what a model knows and makes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context
from pydantic import Field

from bitlm_core import SamplingConfig, bits_to_bytes, bytes_to_bits
from bitlm_mcp.jobs import Urgency
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.tools.inference_results import (
    DiffusionResult,
    EvaluateResult,
    InferLongResult,
    InferResult,
    WindowResult,
    evaluate_facts,
    generation_facts,
    infer_long_facts,
    next_wait,
    verdict_result,
)
from bitlm_mcp.tools.parameters import (
    DataBase64,
    ModelId,
    OptionalDatasetId,
    Prompt,
    PromptBase64,
    PromptBits,
    Seed,
    Text,
    WaitSeconds,
    given_prompt,
    text_bytes,
)
from bitlm_mcp.tools.sources import given_data, given_long_input
from bitlm_mcp.tools.waiting import answer, finished_result, wait_for
from bitlm_mcp.workspace import Workspace

MAX_NEW_BYTES = 8_192


def inference_tools(workspace: Workspace) -> list[ToolSpec]:
    """The tools of this module, bound to a workspace."""
    limit_s = workspace.settings.max_wait_s

    async def evaluate(
        ctx: Context[Any, Any],
        model_id: ModelId = "default",
        dataset_id: OptionalDatasetId = None,
        text: Text = None,
        data_base64: DataBase64 = None,
        wait_s: WaitSeconds = 20,
    ) -> EvaluateResult:
        """Measure how many bits per byte data costs under a model: the lower, the better it is known.

        Give exactly one of dataset_id (its held-out part is used), text or data_base64. 8 means nothing is known.
        """
        data = given_data(workspace, dataset_id, text, data_base64, holdout=True)
        job = workspace.use(
            "evaluate",
            model_id,
            Urgency.READ,
            lambda engine: engine.evaluate_steps(data.array),
            lambda found, _: evaluate_facts(found),
        )
        over = await wait_for(job, min(wait_s, limit_s), ctx, owner=True)
        facts = finished_result(job) if over else {}
        return EvaluateResult(job_id=job.job_id, status=job.status, next=next_wait(job), **facts)

    async def infer(
        ctx: Context[Any, Any],
        model_id: ModelId = "default",
        prompt: Prompt = None,
        prompt_base64: PromptBase64 = None,
        prompt_bits: PromptBits = None,
        max_new_bytes: Annotated[int, Field(ge=1, le=MAX_NEW_BYTES, description="How many bytes to generate.")] = 64,
        temperature: Annotated[
            float,
            Field(ge=0, le=10, description="0 takes the likeliest byte each time; 1 draws as the model believes."),
        ] = 1.0,
        top_p: Annotated[
            float, Field(gt=0, le=1, description="Draw from the likeliest bytes that together have this probability.")
        ] = 1.0,
        constraint: Annotated[
            Literal["none", "utf8"], Field(description="utf8 allows only bytes that keep the output valid text.")
        ] = "none",
        seed: Seed = 0,
        safety: Annotated[
            Literal["off", "warn", "strict"],
            Field(description="Judge the output: warn reports broken floors, strict withholds the output."),
        ] = "off",
    ) -> InferResult:
        """Continue a prompt: give exactly one of prompt, prompt_base64 or prompt_bits."""
        given = given_prompt(workspace.model(model_id).max_bytes, prompt, prompt_base64, prompt_bits)
        sampling = SamplingConfig(temperature=temperature, top_p=top_p, constraint=constraint, seed=seed)
        job = workspace.use(
            "infer",
            model_id,
            Urgency.ANSWER,
            lambda engine: engine.infer_steps(given, max_new_bytes, sampling, safety),
            lambda found, engine: (*found, engine.step),
        )
        generation, verdict, step = await answer(job, limit_s, ctx)
        bits = bytes_to_bits(generation.data)
        return InferResult(
            **generation_facts(generation),
            num_bits=len(bits),
            bits_per_byte=generation.bits_per_byte,
            parity_ok=not bits_to_bytes(bits, errors="report").bad_groups,
            verdict=verdict_result(verdict),
            model_step=step,
        )

    async def infer_long(
        ctx: Context[Any, Any],
        model_id: ModelId = "default",
        prompt: Prompt = None,
        prompt_base64: PromptBase64 = None,
        prompt_bits: PromptBits = None,
        dataset_id: OptionalDatasetId = None,
        ctx_bits: Annotated[
            int, Field(ge=9, le=1_179_648, description="Bits the model sees at once: nine per byte, up to its window.")
        ] = 4096,
        overlap: Annotated[
            int, Field(ge=0, le=1_179_648, description="Bits that neighbouring windows share; less than ctx_bits.")
        ] = 256,
        return_bytes: Annotated[
            int, Field(ge=0, le=65_536, description="Return the predicted bits of this many bytes at most.")
        ] = 256,
        return_windows: Annotated[int, Field(ge=0, le=1024, description="Return this many windows at most.")] = 8,
        wait_s: WaitSeconds = 20,
    ) -> InferLongResult:
        """Predict every bit along an input of any length, with K, C, S and bits per byte of each window.

        Give exactly one of prompt, prompt_base64, prompt_bits or dataset_id (its held-out part is used).
        """
        data = given_long_input(workspace, prompt, prompt_base64, prompt_bits, dataset_id)
        job = workspace.use(
            "infer_long",
            model_id,
            Urgency.READ,
            lambda engine: engine.infer_long_steps(data.array, ctx_bits=ctx_bits, overlap=overlap),
            lambda found, _: infer_long_facts(found, ctx_bits, return_bytes, return_windows),
        )
        over = await wait_for(job, min(wait_s, limit_s), ctx, owner=True)
        facts = dict(finished_result(job)) if over else {}
        windows = [WindowResult(**window) for window in facts.pop("windows", [])]
        return InferLongResult(job_id=job.job_id, status=job.status, windows=windows or None, next=next_wait(job), **facts)

    async def diffusion_sample(
        ctx: Context[Any, Any],
        model_id: ModelId = "default",
        num_bytes: Annotated[int, Field(ge=1, le=MAX_NEW_BYTES, description="How many bytes to make.")] = 32,
        steps: Annotated[int, Field(ge=1, le=64, description="Denoising steps; 8 to 16 for quality.")] = 12,
        schedule: Annotated[
            Literal["linear", "cosine", "exp"], Field(description="How fast bytes become visible over the steps.")
        ] = "linear",
        prefix: Annotated[str, Field(max_length=65_536, description="Known text before the bytes to be made.")] = "",
        suffix: Annotated[str, Field(max_length=65_536, description="Known text after the bytes to be made.")] = "",
        seed: Seed = 0,
    ) -> DiffusionResult:
        """Fill bytes between a known prefix and suffix, all positions in parallel, the most confident first.

        The model should have been trained with objective="diffusion".
        """
        job = workspace.use(
            "diffusion_sample",
            model_id,
            Urgency.ANSWER,
            lambda engine: engine.diffusion_sample_steps(
                num_bytes=num_bytes,
                steps=steps,
                schedule=schedule,
                prefix=text_bytes("prefix", prefix) if prefix else b"",
                suffix=text_bytes("suffix", suffix) if suffix else b"",
                seed=seed,
            ),
            lambda found, engine: (*found, engine.step, engine.diffusion_steps),
        )
        generation, verdict, step, trained = await answer(job, limit_s, ctx)
        untrained = (
            "this model has never been trained for diffusion (0 diffusion steps), so the sample is close to noise: "
            "call train_step with objective='diffusion' first"
        )
        return DiffusionResult(
            **generation_facts(generation),
            parity_corrections=generation.parity_corrections,
            verdict=verdict_result(verdict),
            warning=None if trained else untrained,
            model_step=step,
        )

    return [
        ToolSpec(evaluate, "Evaluate", read_only=True, destructive=False, idempotent=True),
        ToolSpec(infer, "Generate", read_only=True, destructive=False, idempotent=True),
        ToolSpec(infer_long, "Predict along a long input", read_only=True, destructive=False, idempotent=True),
        ToolSpec(diffusion_sample, "Sample by diffusion", read_only=True, destructive=False, idempotent=True),
    ]
