"""The compute process of `isolated`: `python -m bitlm_mcp.compute.child`, spoken to in lines of JSON.

It ends when it is told to, and at once when its stdin ends: then the server is gone, and nobody could publish a result.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from typing import BinaryIO

from bitlm_mcp.compute.events import Event
from bitlm_mcp.compute.scheduler import Urgency
from bitlm_mcp.compute.threaded import ThreadedCompute
from bitlm_mcp.compute.wire import Begin, Order, Told
from bitlm_mcp.descriptors import claim_standard_streams

CLOSE_TIMEOUT_S = 60.0


def serve(orders: BinaryIO, events: BinaryIO) -> None:
    """Obey orders until they end."""
    begin = Begin.model_validate_json(orders.readline())
    writing = threading.Lock()

    def report(task_id: str, event: Event) -> None:
        line = Told(task_id=task_id, event=event).model_dump_json().encode() + b"\n"
        with writing:
            events.write(line)
            events.flush()

    compute = ThreadedCompute(report, begin.threads, begin.device)
    for line in orders:
        order = Order.model_validate_json(line)
        if order.do == "close":
            compute.close(CLOSE_TIMEOUT_S)
            return
        if order.do == "stop":
            compute.stop_task(order.task_id)
        elif order.command is not None:
            compute.submit(order.task_id, Urgency(order.urgency), order.command)


def main() -> None:
    """Take stdin and stdout for the orders and events; whatever prints, prints to stderr."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    stdin, stdout = claim_standard_streams()
    serve(os.fdopen(stdin, "rb"), os.fdopen(stdout, "wb"))
    # Interpreter shutdown could wait for compute threads of a command that nobody waits for.
    os._exit(0)


if __name__ == "__main__":
    main()
