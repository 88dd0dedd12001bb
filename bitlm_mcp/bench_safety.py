"""`bitlm bench safety`: what the calibrated gate passes, and what it catches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import bitlm_core
from bitlm_mcp.bench_reports import Json, Preset, report_of, show_table, tell
from bitlm_mcp.demo import default_text


def safety(
    data: Annotated[Path | None, typer.Option(help="File to learn.", show_default="Python's language reference")] = None,
    other: Annotated[list[Path] | None, typer.Option(help="File that another model learns; repeatable.")] = None,
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="CPU seconds to train for.")] = 60.0,
    preset: Preset = "small",
    quantile: Annotated[float, typer.Option(min=0.001, max=0.2, help="Healthy outputs that may fail.")] = 0.01,
    healthy: Annotated[int, typer.Option(min=10, max=10_000, help="Healthy outputs to judge.")] = 300,
    sick: Annotated[int, typer.Option(min=10, max=10_000, help="Outputs of each sick kind to judge.")] = 100,
    json_only: Json = False,
) -> None:
    """Calibrate the gate of a model that has learned a file: shares of healthy outputs passed, and of sick ones caught."""
    content = data.read_bytes() if data else default_text()
    others = {path.name: path.read_bytes() for path in other or ()}
    config = bitlm_core.EngineConfig(model=bitlm_core.preset_config(preset))
    steps = bitlm_core.safety_steps(content, others, config, seconds=seconds, quantile=quantile, outputs=(healthy, sick))
    found = report_of(steps, "learning and judging")
    if not json_only:
        columns = ("passed", "passed_by_default", "triggered")
        kinds = [({"kind": one.name, "bytes": one.num_bytes}, vars(one)) for one in found.kinds]
        show_table([(named, {name: figures[name] for name in columns}) for named, figures in kinds])
    tell(found.flat(), json_only=True)
