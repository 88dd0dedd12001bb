"""The tools as clients see them, recorded: a change of any schema, title or hint shows up in review.

After a wanted change: python -m pytest tests/mcp/test_toolsnaps.py --update-snapshots
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from bitlm_mcp.assembly import assemble
from bitlm_mcp.settings import ServerSettings

SNAPSHOT = Path(__file__).parent / "toolsnaps.json"
FIXED = {
    "init_model": {"model_id": "default", "architecture": "byte", "preset": "small", "seed": 0, "overwrite": False},
    "add_dataset": {"holdout_fraction": 0.1, "overwrite": False},
    "train_step": {"objective": "causal", "wait_s": 20, "queue": False},
    "score": {"top": 5, "adaptive": False, "wait_s": 20},
    "infer": {"max_new_bytes": 64, "temperature": 1.0, "top_p": 1.0, "constraint": "none", "seed": 0, "attempts": 1},
    "approve_sample": {},
    "calibrate_floors": {"quantile": 0.01, "wait_s": 20},
    "infer_long": {"ctx_bits": 4096, "overlap": 256, "wait_s": 20},
    "diffusion_sample": {"num_bytes": 32, "steps": 12, "schedule": "linear", "seed": 0},
    "show_surprise": {"offset": 0, "num_bytes": 65_536, "cells": 256, "shown": 256, "wait_s": 20},
    "compress": {"wait_s": 20},
    "decompress": {"wait_s": 20},
    "repair": {"parity": False, "wait_s": 20},
    "get_telemetry": {"last": 20},
    "show_training": {"model_id": "default"},
    "set_telemetry": {"model_id": "default"},
    "inspect_patches": {"first": 6, "wait_s": 20},
    "quantize_model": {"mode": "int8", "model_id": "default", "overwrite": False, "qat_steps": 0, "wait_s": 20},
    "save_checkpoint": {"overwrite": False},
    "load_checkpoint": {"overwrite": False},
    "push_checkpoint": {"parent_commit": None, "private": True, "license": None, "wait_s": 20},
    "pull_checkpoint": {"revision": None, "overwrite": False, "wait_s": 20},
    "scale_model": {"model_id": "default", "strategy": "auto", "seed": 0, "wait_s": 20},
    "distill_model": {"data_weight": 0.1, "teacher_weight": 1.0, "width_scale": 1.5, "max_rounds": 3, "min_gain": 0.97},
    "wait_job": {"wait_s": 45},
    "cancel_job": {},
    "list_models": {},
    "list_jobs": {},
    "read_output": {"offset": 0, "limit": 1024},
    "delete": {},
}


@asynccontextmanager
async def listed(tmp_path: Path) -> AsyncIterator[list[dict[str, Any]]]:
    async with Client(assemble(ServerSettings(state_dir=tmp_path, toolsets=("all",))).server) as client:
        tools = (await client.list_tools()).tools
        yield [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]


@pytest.mark.anyio
async def test_the_tools_are_as_recorded(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    async with listed(tmp_path) as tools:
        if request.config.getoption("--update-snapshots"):
            SNAPSHOT.write_text(json.dumps(tools, indent=1, sort_keys=True) + "\n")
        assert tools == json.loads(SNAPSHOT.read_text())


@pytest.mark.anyio
async def test_the_names_and_defaults_of_the_card_hold(tmp_path: Path) -> None:
    async with listed(tmp_path) as tools:
        assert {tool["name"] for tool in tools} == FIXED.keys()
        for tool in tools:
            properties = tool["inputSchema"]["properties"]
            found = {name: properties[name].get("default") for name in FIXED[tool["name"]]}
            assert found == FIXED[tool["name"]], tool["name"]


@pytest.mark.anyio
async def test_every_schema_is_one_that_all_clients_read(tmp_path: Path) -> None:
    async with listed(tmp_path) as tools:
        for tool in tools:
            assert tool["inputSchema"]["additionalProperties"] is False
            text = json.dumps(tool)
            assert not any(word in text for word in ("$ref", "$defs", "anyOf", "oneOf", "allOf")), tool["name"]
            hints = {"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"}
            assert tool["annotations"].keys() == hints and tool["title"] and tool["description"]
            for name, schema in tool["inputSchema"]["properties"].items():
                assert 8 <= len(schema["description"]) <= 500, f"{tool['name']}.{name}"
