"""compress and decompress: jobs whose output is the compressed data, or what it was made of."""

from __future__ import annotations

import base64
from typing import Any

from bitlm_core import CodecName, ConfigError
from bitlm_mcp.compute import answers, commands
from bitlm_mcp.compute.compression import MAX_BYTES
from bitlm_mcp.compute.messages import DataPart, ModelRef
from bitlm_mcp.compute.scheduler import Urgency
from bitlm_mcp.jobs import Job, new_job_id
from bitlm_mcp.operations.data import Source, add_dataset
from bitlm_mcp.operations.reading import submit_recorded
from bitlm_mcp.workspace import Workspace

FIRST_BYTES = 512
"""So much of the data stands in a result."""


def compress(
    workspace: Workspace, model_id: str | None, source: Source, records: str | None, codec: CodecName = "model"
) -> Job:
    """Compress data with a model, or learning from the data alone; or with another codec, which knows no model."""
    _check_codec(codec, model_id=model_id, records=records)
    if records is not None and model_id is None:
        raise ConfigError(f"records={records!r} needs a model_id: a model knows the records before it sees them")
    job_id = new_job_id()
    command = commands.Compress(
        model=_ref(workspace, model_id),
        data=_checked(source.part(workspace, job_id, holdout=None)),
        records=records,
        first_bytes=FIRST_BYTES,
        output=workspace.job_files.output(job_id),
        codec=codec,
    )
    job = Job("compress", model_id or "", Urgency.READ, command, job_id=job_id, recorded=True)
    job.on_completed = _compressed
    return submit_recorded(workspace, job)


def decompress(
    workspace: Workspace,
    source: Source,
    model_id: str | None,
    *,
    record: int | None,
    save_as: str | None,
    codec: CodecName = "model",
) -> Job:
    """Give back what was compressed, all of it or one record; `save_as`: also as a dataset, nothing of it held back."""
    _check_codec(codec, model_id=model_id, record=record)
    job_id = new_job_id()
    command = commands.Decompress(
        model=_ref(workspace, model_id),
        data=_checked(source.part(workspace, job_id, holdout=None)),
        record=record,
        first_bytes=FIRST_BYTES,
        output=workspace.job_files.output(job_id),
        codec=codec,
    )

    def completed(answer: answers.DecompressOutcome) -> dict[str, Any]:
        if save_as is not None:
            documents = [workspace.job_files.output_chunks(job_id)]
            told = f"decompressed by {job_id}"
            add_dataset(workspace, save_as, documents, source=told, holdout_fraction=0.0, overwrite=False)
        return _decompressed(answer, save_as)

    job = Job("decompress", model_id or "", Urgency.READ, command, job_id=job_id, recorded=True)
    job.on_completed = completed
    return submit_recorded(workspace, job)


def _check_codec(codec: str, **of_models: str | int | None) -> None:
    given = [f"{name}={value!r}" for name, value in of_models.items() if value is not None]
    if codec != "model" and given:
        raise ConfigError(f"codec={codec!r} knows no models or records: leave out {', '.join(given)}, or the codec")


def _ref(workspace: Workspace, model_id: str | None) -> ModelRef | None:
    workspace.catch_up()
    return workspace.models.ref(model_id) if model_id is not None else None


def _checked(part: DataPart) -> DataPart:
    if part.num_bytes > MAX_BYTES:
        raise ConfigError(
            f"{part.num_bytes:,} bytes are more than the {MAX_BYTES:,} that this server takes: cut the data into several, "
            "or use bitlm compress and decompress"
        )
    return part


def _compressed(answer: answers.CompressOutcome) -> dict[str, Any]:
    found = answer.model_dump(exclude={"answer", "first"})
    return found | ({"data_base64": base64.b64encode(answer.first).decode()} if answer.first else {})


def _decompressed(answer: answers.DecompressOutcome, save_as: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {"num_bytes": answer.num_bytes, "seconds": answer.seconds}
    if answer.ratio is not None:
        found["ratio"] = answer.ratio
    try:
        found["text"] = answer.first.decode()
    except UnicodeDecodeError:
        found["data_base64"] = base64.b64encode(answer.first).decode()
    return found | ({"dataset_id": save_as} if save_as else {})
