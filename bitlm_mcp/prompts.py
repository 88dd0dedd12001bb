"""Prompts: ways of working that a person can choose in a host, with the calls in their order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS
from pydantic import Field, ValidationError

from bitlm_mcp.tools.parameters import ID_PATTERN

MAX_REASON = 200

DatasetId = Annotated[str, Field(pattern=ID_PATTERN, description="The dataset, as add_dataset made it.")]
ModelId = Annotated[str, Field(pattern=ID_PATTERN, description="The model to use or to make.")]
Seconds = Annotated[str, Field(pattern=r"^[0-9]{1,5}$", description="How long to train, in whole seconds.")]


def train_and_report(dataset_id: DatasetId, model_id: ModelId = "default", seconds: Seconds = "60") -> str:
    """Train a model on a dataset and report what it has learned."""
    return f"""\
Train a bitlm model on the dataset {dataset_id!r} and report what it has learned.

1. get_telemetry(model_id={model_id!r}): if there is no such model, call init_model(model_id={model_id!r}).
2. score(model_id={model_id!r}, dataset_id={dataset_id!r}): note bits_per_byte before training.
3. train_step(model_id={model_id!r}, dataset_id={dataset_id!r}, seconds={seconds}). While its status is not final, call
   wait_job with its job_id again. With progressive=true the network grows where it stops learning.
4. score again, get_telemetry(model_id={model_id!r}, last=5), and infer with a short prompt from the data.
5. save_checkpoint(name="{model_id}-trained", model_id={model_id!r}).
6. Only if a small model is wanted and these tools are offered: distill_model(model_id={model_id!r},
   student_id="{model_id}-small", dataset_id={dataset_id!r}), then quantize_model(model_id="{model_id}-small", mode="int4"),
   and score that one too: say what it keeps.

Report in a short table: bits per byte on the held-back part before and after (8 means that nothing is known, lower is better),
K, C and S and what they say, alerts if there are any, one sample, and the name of the checkpoint. Read the resource
bitlm://metrics-guide for what the numbers mean, and claim nothing that they do not say."""


def find_anomalies(dataset_id: DatasetId, model_id: ModelId = "default") -> str:
    """Find the parts of a dataset that a trained model did not expect."""
    return f"""\
Find what is unusual in the held-back part of the dataset {dataset_id!r}, with the model {model_id!r}.

1. get_telemetry(model_id={model_id!r}): if its step is 0, train it first with train_step on data that is known to be normal.
2. score(model_id={model_id!r}, dataset_id={dataset_id!r}, records="lines", top=10), or records="fixed:N" for records of N
   bytes; without records where the dataset was added with them. If its status is not final, call wait_job with its job_id.
3. records has the oddest ones, the oddest first: statistic says by how many standard deviations one stands out from the
   others. spans has the most surprising bytes with their offsets. Name the five oddest records, and show which bytes did it.
4. Data that changes as time goes on: the same with adaptive=true learns from each record that is not suspicious.

Say plainly that surprise is not guilt: rare, new and damaged data look alike to a model, and so does data of a kind that it
was never trained on."""


def compress_my_data(dataset_id: DatasetId, model_id: ModelId = "default") -> str:
    """Find out how small a dataset becomes with a model that knows its kind."""
    return f"""\
Find out how small the dataset {dataset_id!r} becomes with a model that knows data of its kind.

1. If the model {model_id!r} has not been trained on it: init_model, then train_step(dataset_id={dataset_id!r}, seconds=60).
   With architecture="mix" a megabyte takes twelve seconds; with a network the result is smaller, and takes longer.
2. score(model_id={model_id!r}, dataset_id={dataset_id!r}): bits_per_byte / 8 is the share of the original size that a
   lossless coder driven by this model needs, learning on as it codes; bits_per_byte_static / 8 with everything frozen.
3. compress(dataset_id={dataset_id!r}), which needs no model and is fast, and compress(dataset_id={dataset_id!r},
   model_id={model_id!r}), which is slow where the model has a network: compressed_bytes is the true size.

Report the original, the estimated and the true sizes, and those of gzip or xz if you can run them on the same bytes."""


def register_prompts(server: MCPServer[Any]) -> None:
    """Add all prompts to a server."""
    for function, title in _TITLES.items():
        server.prompt(title=title)(function)


async def prompt_errors(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """A middleware: what is wrong with a request for a prompt is told; the SDK alone would call it a fault of the server."""
    if ctx.method != "prompts/get":
        return await call_next(ctx)
    try:
        return await call_next(ctx)
    except ValueError as error:
        raise MCPError(INVALID_PARAMS, f"{_reason(error)}: prompts/list has the prompts and their arguments") from error


def _reason(error: BaseException) -> str:
    """The wrong arguments by name, where the SDK's error stems from their check."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ValidationError):
            return "; ".join(f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}" for wrong in cause.errors())
        cause = cause.__cause__
    return str(error)[:MAX_REASON]


_TITLES: dict[Callable[..., str], str] = {
    train_and_report: "Train and report",
    find_anomalies: "Find anomalies",
    compress_my_data: "Compress my data",
}
