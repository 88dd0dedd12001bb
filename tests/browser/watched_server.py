"""A server that also writes down when it publishes each step of a model: watched_server.py WITNESS STATE_DIR PORT.

A line of the witness is `STEP MILLISECONDS`, since 1970, written before anybody is told of the step.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from bitlm_mcp import assembly
from bitlm_mcp.app import build_app
from bitlm_mcp.logs import log_to_stderr
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.transports import run_http
from bitlm_mcp.workspace import Workspace


class WatchedWorkspace(Workspace):
    """A workspace whose snapshots are timed."""

    witness: Path

    def _replace(self, **changes: Any) -> None:
        now, last = time.time() * 1000, self.snapshot.models
        steps = [view.step for name, view in changes.get("models", {}).items() if name in last and view.step != last[name].step]
        super()._replace(**changes)
        with self.witness.open("a") as lines:
            lines.writelines(f"{step} {now}\n" for step in steps)


def main() -> None:
    witness, state, port = sys.argv[1:]
    WatchedWorkspace.witness = Path(witness)
    vars(assembly)["Workspace"] = WatchedWorkspace
    log_to_stderr(as_json=False)
    settings = ServerSettings(state_dir=Path(state), port=int(port), threads=1)
    parts = assembly.assemble(settings)
    served = build_app(parts.server, settings, parts.routes, parts.background)
    run_http(served, settings, on_leave=parts.on_leave, on_stop=parts.on_stop)


if __name__ == "__main__":
    main()
