"""The attacks, the raw peer that makes them, and the process that is attacked (``benchmarks/attacks.py``)."""
