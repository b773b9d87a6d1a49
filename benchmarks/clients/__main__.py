"""Measure one client in this process and print the measurement as JSON."""

from __future__ import annotations

import argparse

import anyio
import msgspec

from . import CLIENTS, connect_of, measure


def main() -> None:
    """Run the client that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clients", description=__doc__)
    parser.add_argument("name", choices=CLIENTS)
    parser.add_argument("base_url")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--deltas", type=int, default=1000)
    arguments = parser.parse_args()
    client = CLIENTS[arguments.name]
    measurement = anyio.run(
        measure, connect_of(client), arguments.base_url, arguments.turns, arguments.deltas, backend=client.backend
    )
    print(msgspec.json.encode(measurement).decode())


if __name__ == "__main__":
    main()
