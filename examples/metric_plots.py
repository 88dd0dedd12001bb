"""Draw what K, C and S look like in real runs: one that learns, one on noise, one that breaks, one whose data changes.

    .venv/bin/python examples/metric_plots.py [FOLDER] [STEPS]

Each run trains a small network, by default for 200 steps: together a minute. The pictures go to FOLDER, by default
`metrics` beside this file; printed are the last K, C and S of each run and its first alerts.
"""

import pydoc_data.topics
import random
import sys
from pathlib import Path

from bitlm_core import (
    Engine,
    EngineConfig,
    ModelStateError,
    TelemetryConfig,
    TrainingConfig,
    TrainingPlan,
    bytes_in_memory,
    draw_run,
    preset_config,
)

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("metrics")
STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 200
TEXT = "\n".join(pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics)).encode()
NOISE = random.Random(1).randbytes(200_000)  # noqa: S311 - no secret
COLUMNS = ("step", "bits_per_byte", "grad_norm", "attention_entropy")


def run(parts, **settings):
    """Train on one part of the data after the other; a point per step, and the alerts."""
    model = preset_config("tiny", d_model=64, nhead=1, num_layers=2, max_seq_len=256)
    watch = TelemetryConfig(telemetry_every=1, attention_every=2)
    engine = Engine(EngineConfig(model=model, mixing=None, training=TrainingConfig(**settings), telemetry=watch))
    points, alerts = [], []
    try:
        for data in parts:
            for report in engine.train_steps(bytes_in_memory(data), TrainingPlan(steps=STEPS // len(parts))):
                points.append({name: getattr(report, name) for name in COLUMNS} | vars(report.telemetry))
                alerts += report.alerts
    except ModelStateError as error:  # a loss that is no number: the run has ended by itself
        print(error)
    return points, alerts


FAR_TOO_FAST = {"optimizer": "adamw", "learning_rate": 1.0, "warmup_steps": 0, "max_grad_norm": 1e6}
RUNS = {
    "healthy": ("a healthy run: text", [TEXT], {}),
    "noise": ("nothing to learn: random bytes", [NOISE], {}),
    "broken": ("a broken run: a learning rate of 1", [TEXT], FAR_TOO_FAST),
    "shift": ("drift: text, then one line again and again", [TEXT, b"0110100110010110" * 4000], {}),
}
FOLDER.mkdir(parents=True, exist_ok=True)
for name, (title, parts, settings) in RUNS.items():
    points, alerts = run(parts, **settings)
    (FOLDER / f"{name}.svg").write_text(draw_run(points, title), encoding="utf-8")
    last = points[-1]
    figures = ", ".join(f"{key} {last[key]:.2f}" for key in ("bits_per_byte", "k", "c", "s"))
    print(f"{name}: {len(points)} steps, at the end {figures}; {len(alerts)} alerts")
    for alert in alerts[:3]:
        print(f"    {alert.message}")
print(f"{len(RUNS)} pictures in {FOLDER}")
