"""The plan: every benchmark at least once, with settings that together fit into an hour on two cores.

Bounds are those this project set itself for two Zen 4 cores: a limit had to be held, a goal was hoped for. They stand only
where the settings are those they were set for; other runs are shorter, and say so by having none. A further benchmark is a
further line in one of the four.
"""

from __future__ import annotations

from bitlm_mcp.bench_all.cases_data import DATA
from bitlm_mcp.bench_all.cases_learning import LEARNING
from bitlm_mcp.bench_all.cases_machine import MACHINE
from bitlm_mcp.bench_all.cases_models import MODELS
from bitlm_mcp.bench_all.plan import Case

PLAN: tuple[Case, ...] = (*LEARNING, *DATA, *MODELS, *MACHINE)
