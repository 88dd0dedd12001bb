"""Data: where the bytes of a call are, and storing them under a name."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from bitlm_core import check_records
from bitlm_mcp.compute.messages import DataPart
from bitlm_mcp.data_files import Documents
from bitlm_mcp.snapshot import DatasetView
from bitlm_mcp.workspace import Workspace


@dataclass(frozen=True)
class Source:
    """The bytes of a call: a dataset's or a job's output, by their names, or the call's own.

    codec, sent_bytes: of content that came compressed, what with and how small.
    """

    dataset_id: str | None = None
    content: bytes | None = None
    output_of: str | None = None
    codec: str | None = None
    sent_bytes: int = 0

    def part(self, workspace: Workspace, job_id: str, *, holdout: bool | None) -> DataPart:
        """The bytes in a file; those of the call are written down for the job. holdout: see `DatasetStore.part`."""
        if self.output_of is not None:
            return workspace.job_files.output_part(self.output_of)
        if self.content is not None:
            return workspace.job_files.keep_input(job_id, self.content)
        return workspace.datasets.part(self.dataset_id or "", holdout=holdout)


def add_dataset(
    workspace: Workspace,
    dataset_id: str,
    documents: Documents,
    *,
    source: str,
    holdout_fraction: float,
    overwrite: bool,
    records: str | None = None,
) -> DatasetView:
    """Store data under a name, cut into records if wanted."""
    if records is not None:
        check_records(records)
    view = workspace.datasets.add(
        dataset_id,
        documents,
        source=source,
        holdout_fraction=holdout_fraction,
        overwrite=overwrite,
        records=records,
        guard=lambda view: workspace.records.indexing("datasets", dataset_id, asdict(view)),
    )
    workspace.show()
    return view
