"""What generating queries costs, in parts: the calls of the endpoint client.

*calls*: 64 calls in flight against a server of this machine that answers after 50 ms, beside plain httpx2.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
from typing import Any

from calls import ANSWER_S, CONCURRENCY, ask_by_endpoint, ask_by_httpx, measure, run_server


def report_calls(options: argparse.Namespace) -> None:
    """Measures and prints the endpoint client beside plain httpx2, in turn."""
    most = CONCURRENCY / ANSWER_S
    rates: dict[str, list[Any]] = {"endpoint": [], "httpx2": []}
    with run_server() as url:
        for _ in range(options.rounds):
            for name, ask in (("endpoint", ask_by_endpoint), ("httpx2", ask_by_httpx)):
                rates[name].append(measure(ask, url, calls=options.calls))
    for name, found in rates.items():
        rate = statistics.median(each.a_second for each in found)
        processor = statistics.median(each.processor_ms for each in found)
        _print(
            name,
            f"{rate:,.0f} calls a second, {rate / most:.1%} of {most:,.0f}; {processor:.2f} ms of processor a call",
        )
        _print("", f"rounds: {', '.join(f'{each.a_second:,.0f}' for each in found)} a second")


PARTS = {"calls": report_calls}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what generating queries costs.")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS], help="what to measure (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each is measured (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=4_000, help="calls of a round (default: %(default)s)")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    _print("machine", f"{platform.system()} {platform.machine()}, {cores} of {os.cpu_count()} cores")
    _print("load", f"{os.getloadavg()[0]:.1f} before the run")
    for part in options.parts:
        PARTS[part](options)


def _print(name: str, fact: str) -> None:
    print(f"{name:<32}{fact}", flush=True)


if __name__ == "__main__":
    main()
