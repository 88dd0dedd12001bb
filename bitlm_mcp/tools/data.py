"""add_dataset: data under a name, for any number of later calls."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from bitlm_mcp.data_files import Documents
from bitlm_mcp.dataset_files import MAX_DOCUMENTS
from bitlm_mcp.operations import data as operations
from bitlm_mcp.results import Result
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.snapshot import DatasetView
from bitlm_mcp.tools.parameters import DataBase64, DatasetId, Overwrite, Records, Text, base64_bytes, one_of, text_bytes
from bitlm_mcp.tools.waiting import off_loop
from bitlm_mcp.workspace import Workspace


class DatasetResult(Result):
    """A stored dataset; documents are told where there are several."""

    dataset_id: str
    bytes: int
    sha256: str
    train_bytes: int
    holdout_bytes: int
    num_documents: int | None = None
    statistics: Annotated[
        dict[str, Any] | None,
        Field(description="Of the part to learn from; entropy_n: bits of a byte, given the n before it, from counts."),
    ] = None
    warning: str | None = None
    next: str


def data_tools(workspace: Workspace) -> list[ToolSpec]:
    """The tools of this module, bound to a workspace."""

    async def add_dataset(
        dataset_id: DatasetId,
        path: Annotated[
            str | None,
            Field(min_length=1, max_length=4096, description="A file, or a folder of documents."),
        ] = None,
        text: Text = None,
        data_base64: DataBase64 = None,
        records: Records = None,
        holdout_fraction: Annotated[float, Field(ge=0, le=0.9, description="Share at the end, never trained on.")] = 0.1,
        overwrite: Overwrite = False,
    ) -> DatasetResult:
        """Store data under a name: exactly one of path, text or data_base64. The end of it is held back for score."""
        form = one_of(path=path, text=text, data_base64=data_base64)

        def store() -> DatasetView:
            return operations.add_dataset(
                workspace,
                dataset_id,
                _documents(workspace, form, path, text, data_base64),
                source=f"path {path}" if path else form,
                holdout_fraction=holdout_fraction,
                overwrite=overwrite,
                records=records,
            )

        return dataset_result(await off_loop(store))

    return [ToolSpec(add_dataset, "Add a dataset", read_only=False, destructive=True, idempotent=True)]


def dataset_result(view: DatasetView) -> DatasetResult:
    """What a caller is told of a dataset that was just stored."""
    return DatasetResult(
        dataset_id=view.dataset_id,
        bytes=view.num_bytes,
        sha256=view.sha256,
        train_bytes=view.train_bytes,
        holdout_bytes=view.holdout_bytes,
        num_documents=view.num_documents if view.num_documents > 1 else None,
        statistics=view.statistics,
        warning=_warning(view.num_documents),
        next=f"train_step(dataset_id={view.dataset_id!r}, model_id=…), after init_model",
    )


def _documents(workspace: Workspace, form: str, path: str | None, text: str | None, data_base64: str | None) -> Documents:
    if form == "path":
        return workspace.files.open(path or "")
    return [[text_bytes("text", text or "") if form == "text" else base64_bytes("data_base64", data_base64 or "")]]


def _warning(num_documents: int) -> str | None:
    if num_documents <= MAX_DOCUMENTS:
        return None
    return f"{num_documents:,} files are more than the {MAX_DOCUMENTS:,} that are kept apart: they are learned as one document"
