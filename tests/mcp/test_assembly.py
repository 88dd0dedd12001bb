"""Which tools a server offers, by its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from bitlm_core import ConfigError
from bitlm_mcp.assembly import all_tools, assemble, offered_tools
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.workspace import Workspace

READING = {
    *("list_models", "wait_job", "list_jobs", "read_output", "score", "infer", "infer_long", "diffusion_sample"),
    *("show_surprise", "compress"),
    "get_telemetry",
    "show_training",
}
EVERYTHING = READING | {
    *("init_model", "delete", "add_dataset", "train_step", "cancel_job", "save_checkpoint", "load_checkpoint"),
    *("decompress", "repair", "approve_sample"),
}
TUNING = {"set_telemetry", "calibrate_floors", "inspect_patches", "scale_model", "distill_model", "quantize_model"}
HUB = {"push_checkpoint", "pull_checkpoint"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, EVERYTHING),
        ({"read_only": True}, READING),
        ({"toolsets": ["all"]}, EVERYTHING | TUNING | HUB),
        ({"toolsets": ["hub"]}, HUB),
        ({"toolsets": ["hub"], "read_only": True}, set()),
        ({"toolsets": ["tuning"], "tools": ["infer"]}, TUNING | {"infer"}),
        ({"toolsets": ["data", "telemetry"]}, {"add_dataset", "get_telemetry", "show_training"}),
        ({"tools": ["infer"]}, {"infer"}),
        ({"toolsets": ["data"], "tools": ["infer", "delete"]}, {"add_dataset", "infer", "delete"}),
        (
            {"toolsets": ["data", "inference"], "read_only": True},
            {"score", "infer", "infer_long", "diffusion_sample", "show_surprise"},
        ),
    ],
    ids=["usual", "read-only", "all", "hub", "hub, reading", "tuning", "sets", "names", "both", "reading of sets"],
)
def test_tools_are_offered_by_set_by_name_and_by_effect(tmp_path: Path, settings: dict[str, Any], expected: set[str]) -> None:
    workspace = Workspace(ServerSettings.model_validate({"state_dir": tmp_path} | settings))
    assert {spec.tool_name for spec in offered_tools(workspace)} == expected
    workspace.close()


def test_a_tool_that_there_is_not_is_named(tmp_path: Path) -> None:
    workspace = Workspace(ServerSettings(state_dir=tmp_path, tools=("infer", "guess")))
    with pytest.raises(ConfigError, match="no tool guess: the tools are init_model"):
        offered_tools(workspace)
    assert all(spec.toolset for spec in all_tools(workspace))
    workspace.close()


@pytest.mark.anyio
@pytest.mark.parametrize(("chosen", "listed"), [({}, False), ({"tools": ["train_step"]}, False), ({"toolsets": ["all"]}, True)])
async def test_rare_parameters_are_listed_with_the_set_tuning_and_taken_always(
    tmp_path: Path, chosen: dict[str, Any], listed: bool
) -> None:
    async with Client(assemble(ServerSettings(state_dir=tmp_path, **chosen)).server) as client:
        tool = next(tool for tool in (await client.list_tools()).tools if tool.name == "train_step")
        assert ("accumulation" in tool.input_schema["properties"]) is listed
        refused = await client.call_tool("train_step", {"text": "abab", "accumulation": 0})
        assert "accumulation must be an integer, at least 1" in str(refused.content[0])
