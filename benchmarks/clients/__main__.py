"""Measure one client in this process and print the measurement as JSON."""

from __future__ import annotations

import argparse

import msgspec

from . import EVERY, idle_memory, measure


def main() -> None:
    """Run the client that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clients", description=__doc__)
    parser.add_argument("name", choices=EVERY)
    parser.add_argument("base_url")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--deltas", type=int, default=1000)
    parser.add_argument(
        "--idle", metavar="COUNT", type=int, help="measure the memory of so many idle connections instead"
    )
    arguments = parser.parse_args()
    client = EVERY[arguments.name]
    if arguments.idle:
        measured = client.run(idle_memory, client.connect, arguments.base_url, arguments.idle)
    else:
        measured = client.run(measure, client.connect, arguments.base_url, arguments.turns, arguments.deltas)
    print(msgspec.json.encode(measured).decode())


if __name__ == "__main__":
    main()
