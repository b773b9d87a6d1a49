"""The clients' table as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ._output import seconds
from .clients import CLIENTS, Measurement
from .peers import COLUMNS


def plot(best: Mapping[str, Measurement], path: Path) -> None:
    """Write horizontal bars on a logarithmic scale, one panel a column; the file's suffix says in which format."""
    import matplotlib
    from matplotlib.figure import Figure

    names = sorted(best, key=lambda name: best[name].per_lone_event, reverse=True)
    labels = [CLIENTS[name].label.replace("`", "").replace("*", "") for name in names]
    colors = ["tab:blue" if name.startswith("turnwire") else "tab:gray" for name in names]
    figure = Figure(figsize=(14, 1.2 + 0.35 * len(names)), layout="constrained")
    panels = figure.subplots(1, len(COLUMNS), sharex=True, sharey=True)
    for panel, (column, title) in zip(panels, COLUMNS.items(), strict=True):
        costs = [getattr(best[name], column) for name in names]
        bars = panel.barh(labels, costs, color=colors, log=True)
        panel.bar_label(bars, [seconds(cost) for cost in costs], padding=3, fontsize=8)
        panel.set_title(title, fontsize=10)
        panel.set_xlabel("CPU seconds")
        panel.margins(x=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    with matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "turnwire"}
    ):  # Small, and the same bytes each time.
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
