"""What the models cost: ``python -m benchmarks.models``, from the repository's root, with the extra ``bench``.

``OpenAIResponsesWSModel.stream_response`` of turnwire beside the Agents SDK's, each in a process of its own, from one
server process: the same events, as the same objects of ``openai``. What is compared is CPU time, as in
``python -m benchmarks``; compare the ratios. ``turnwire`` itself, which yields its own events, shows what the objects
cost.
"""

from __future__ import annotations

import argparse

from .__main__ import measure_all, shown

OURS, THEIRS = "turnwire-model", "agents"


def main() -> None:
    """Measure and print the table and the ratio."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.models", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--turns", type=int, default=20, help="turns of many deltas per run (default: 20)")
    parser.add_argument("--deltas", type=int, default=1000, help="deltas per turn (default: 1000)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each client; the best counts (default: 3)")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    arguments = parser.parse_args()
    results = measure_all([OURS, THEIRS, "turnwire"], arguments.turns, arguments.deltas, arguments.rounds)
    print(shown(results, markdown=arguments.markdown, reference=OURS))
    ours, theirs = results.best[OURS], results.best[THEIRS]
    print(
        f"\nstream_response: 1/{theirs.per_event / ours.per_event:.0f} of the CPU time per event, "
        f"1/{theirs.per_short_turn / ours.per_short_turn:.1f} for a turn of two events."
    )


if __name__ == "__main__":
    main()
