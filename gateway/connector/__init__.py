"""`portico connector`: the program on a site's LAN that speaks for devices without a channel of their own (docs/connector.md).

It composes the tunnel's agent with a client for the devices' local HTTP API. It knows nothing of the node: what it may do, the
gateway tells it over its link, and what it must never do it knows itself.
"""
