"""The architecture, proven from the imports: rooms know only the rooms before them, and no file or function grows huge."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = [
    "errors",
    "steps",
    "durable",
    "kernels",
    "codec",
    "layers",
    "patching",
    "models",
    "device",
    "mixing",
    "telemetry",
    "diffusion",
    "scoring",
    "generation",
    "compression",
    "repair",
    "safety",
    "training",
    "engine_config",
    "checkpoint",
    "hub",
    "reading",
    "learning",
    "engine_state",
    "engine",
    "distributed",
    "transform",
    "ahead",
    "bench",
]
SERVER = [
    "settings",
    "errors",
    "arguments",
    "results",
    "schemas",
    "oauth",
    "security",
    "descriptors",
    "activity",
    "snapshot",
    "history",
    "compute",
    "events",
    "outbox",
    "database",
    "presence",
    "leases",
    "curves",
    "records",
    "call_gate",
    "data_files",
    "dataset_files",
    "datasets",
    "jobs",
    "job_files",
    "known_model",
    "model_store",
    "runner",
    "safety",
    "workspace",
    "operations",
    "housekeeping",
    "tools",
    "freshness",
    "silent_dispatch",
    "extensions",
    "server_internals",
    "guide",
    "resources",
    "notifications",
    "prompts",
    "completions",
    "dashboard",
    "monitoring",
    "logs",
    "server",
    "event_store",
    "stdio_lines",
    "app",
    "assembly",
    "web_server",
    "transports",
    "demo",
    "doctor",
    "shell",
    "guide_commands",
    "bench",
    "bench_fleet",
    "bench_reports",
    "bench_commands",
    "bench_codecs",
    "bench_compression",
    "bench_decoding",
    "bench_diffusion",
    "bench_distill",
    "bench_samples",
    "bench_scaling",
    "bench_safety",
    "bench_repair",
    "bench_patches",
    "bench_growth",
    "bench_progressive",
    "bench_quantize",
    "open_pages",
    "bench_pages",
    "manifest",
    "host_entries",
    "host_config",
    "options",
    "score_commands",
    "compression_commands",
    "telemetry_commands",
    "repair_commands",
    "patch_commands",
    "sample_commands",
    "train_targets",
    "shared_training",
    "train_commands",
    "hub_commands",
    "compile_command",
    "worker_command",
    "bundle_command",
    "bench_all",
    "bench_app",
    "cli",
    "__main__",
]
# Ratchets: they may only go down.
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 46
LONG_FUNCTIONS = 4  # over 40 lines
LAZY_DOORS = {"bitlm_mcp/compute/threaded.py": {"torch"}}


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole way"
            found.append(node.module or "")
    return found


@pytest.mark.parametrize(("package", "order"), [("bitlm_core", CORE), ("bitlm_mcp", SERVER)])
def test_rooms_import_only_earlier_rooms(package: str, order: list[str]) -> None:
    for path in files(package):
        own = path.relative_to(ROOT / package).parts[0].removesuffix(".py")
        if own == "__init__":
            continue
        assert own in order, f"{path}: {own} has no place in the order"
        for module in imports(ast.parse(path.read_text())):
            if module.startswith(package + ".") and room(module) != own:
                assert order.index(room(module)) < order.index(own), f"{path} imports {module}"


def test_the_core_knows_no_server() -> None:
    foreign = {"mcp", "starlette", "uvicorn", "anyio", "threading", "asyncio", "typer", "rich", "bitlm_mcp"}
    for path in files("bitlm_core"):
        tree = ast.parse(path.read_text())
        assert not foreign & {module.split(".")[0] for module in imports(tree)}, path
        calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
        assert "print" not in calls, path


def test_the_server_takes_from_the_core_only_what_it_exports() -> None:
    for path in files("bitlm_mcp"):
        for module in imports(ast.parse(path.read_text())):
            if module.startswith("bitlm_core"):
                assert module in ("bitlm_core", "bitlm_core.errors"), f"{path} imports {module}"


def test_only_the_command_line_reads_the_environment() -> None:
    for path in files("bitlm_core") + files("bitlm_mcp"):
        if path.name != "cli.py":
            source = path.read_text()
            assert "os.environ" not in source and "sys.argv" not in source, path


def test_no_imports_inside_functions_but_the_lazy_door() -> None:
    for path in files("bitlm_core") + files("bitlm_mcp"):
        allowed = LAZY_DOORS.get(str(path.relative_to(ROOT)), set())
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert set(imports(node)) <= allowed, f"{path}: {node.name}"


def test_no_two_test_files_share_a_name() -> None:
    """Without packages among the tests, a module is known by its file's name alone: the second one would not be collected."""
    names = [
        path.name for path in ROOT.glob("tests/**/test_*.py") if ".venv" not in path.parts and "node_modules" not in path.parts
    ]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_files_and_functions_stay_small() -> None:
    long = []
    for path in files("bitlm_core") + files("bitlm_mcp"):
        source = path.read_text()
        assert len(source.splitlines()) <= MAX_FILE_LINES, path
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                inner = [child for child in ast.walk(node) if isinstance(child, ast.AsyncFunctionDef) and child is not node]
                # A function that only holds others (the tools of a module) counts without them.
                lines = (node.end_lineno or 0) - node.lineno + 1 - sum((c.end_lineno or 0) - c.lineno + 1 for c in inner)
                assert lines <= MAX_FUNCTION_LINES, f"{path}: {node.name} has {lines} lines"
                if lines > 40:
                    long.append(f"{path.name}:{node.name} {lines}")
    assert len(long) <= LONG_FUNCTIONS, long


def test_every_public_name_exists_and_the_core_imports_without_torch() -> None:
    code = (
        "import sys, bitlm_core\n"
        "assert 'torch' not in sys.modules and 'numba' not in sys.modules\n"
        "bitlm_core.compress_steps, bitlm_core.decompress_steps, bitlm_core.decompress_record, bitlm_core.file_figures\n"
        "assert 'torch' not in sys.modules\n"
        "for name in bitlm_core.__all__: getattr(bitlm_core, name)\n"
        "print(len(bitlm_core.__all__))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(found.stdout) > 30
