"""The Agents SDK's side: settings, tools, requests, results and traces of its models, on top of the protocol.

The promise
    These modules import the protocol; the protocol imports none of them. They use the Agents SDK's objects by their
    attributes only: neither ``agents`` nor ``openai`` is imported.
"""
