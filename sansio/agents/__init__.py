"""The Agents SDK's side: its models' settings, tools, requests, results and traces, on top of the protocol.

The promise
    These modules import the protocol; the protocol imports none of them. They know the Agents SDK by the shape of its
    objects: neither ``agents`` nor ``openai`` is imported.
"""
