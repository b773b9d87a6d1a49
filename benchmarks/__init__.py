"""Benchmarks: turnwire beside its peers, and against the targets of its own (`python -m benchmarks`)."""
