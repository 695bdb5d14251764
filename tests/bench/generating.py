"""What generating queries costs, in parts: the calls of the endpoint client, the gates, a language model.

*calls*: 64 calls in flight against a server of this machine that answers after 50 ms, beside plain httpx2. *gates*:
100,000 invented documents with a query each through every gate, with a round trip by BM25 and one by a model of random
embeddings. *model*: SmolLM2 (`make queries` installs it) writes queries for documents of the quickstart, beside
transformers by itself. *worth*: what the generated queries gained, once `make queries` and `make sweep
STUDY=studies/queries.toml` have run.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
from typing import Any

from calls import ANSWER_S, CONCURRENCY, ask_by_endpoint, ask_by_httpx, measure, run_server
from gated import measure_gates
from worth import tabulate_worth
from written import measure_writing


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


def report_gates(options: argparse.Namespace) -> None:
    """Measures and prints what each gate takes, with either round trip."""
    for by in ("bm25", "model"):
        found = measure_gates(documents=options.documents, by=by)
        _print(f"gates, round trip by {by}", f"{options.documents:,} documents and queries")
        for name, seconds, processor, rejected in found["gates"]:
            _print(f"  {name}", f"{seconds:7.1f} s ({processor:.1f} s of processor), {rejected:,} rejected")
        seconds, processor = (sum(gate[column] for gate in found["gates"]) for column in (1, 2))
        _print("  all", f"{seconds:7.1f} s ({processor:.1f} s of processor), {seconds / AIM_S:.2f} of {AIM_S} s")
        peak = found["peak_gib"]
        _print(
            "  peak", f"{peak:7.2f} GiB, {peak / AIM_GIB:.2f} of {AIM_GIB}; {found['before_gib']:.2f} before the gates"
        )


AIM_S, AIM_GIB = 300, 2
"""What 100,000 documents may take."""


def report_model(options: argparse.Namespace) -> None:
    """Measures and prints a language model, beside transformers by itself."""
    found = {
        name: measure_writing(documents=options.written, model=options.model, plain=name == "transformers")
        for name in ("language-model", "transformers")
    }
    for name, one in found.items():
        _print(
            name,
            f"{one['a_second']:.2f} documents a second, {one['a_second'] / AIM_A_SECOND:.2f} of {AIM_A_SECOND};"
            f" {one['processor_s']:.2f} s of processor each; {one['threads']} threads, {one['precision']}",
        )
        _print("", f"peak {one['peak_gib']:.2f} GiB, {one['peak_gib'] / AIM_GIB:.2f} of {AIM_GIB}")
    ours, theirs = (one["answers"] for one in found.values())
    equal = sum(first == second for first, second in zip(ours, theirs, strict=True))
    _print("equal queries", f"{equal} of {len(ours)}")


AIM_A_SECOND = 2
"""Documents that two cores are to be asked for in a second."""


def report_worth(options: argparse.Namespace) -> None:  # noqa: ARG001 - every part has them
    """Prints the table of studies/queries.toml."""
    print(*tabulate_worth(), sep="\n", flush=True)


PARTS = {"calls": report_calls, "gates": report_gates, "model": report_model, "worth": report_worth}
COSTS = ("calls", "gates", "model")


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what generating queries costs.")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=COSTS, help="what to measure (default: all but worth)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="times that each is measured (default: %(default)s)")
    parser.add_argument("--calls", type=int, default=4_000, help="calls of a round (default: %(default)s)")
    parser.add_argument(
        "--documents", type=int, default=100_000, help="documents that gates look at (default: %(default)s)"
    )
    parser.add_argument("--model", metavar="MODEL", help="language model, in place of that of studies/queries.toml")
    parser.add_argument("--written", type=int, default=128, help="documents that it writes for (default: %(default)s)")
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
