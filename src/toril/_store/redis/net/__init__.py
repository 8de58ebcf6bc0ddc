"""Connections to Redis: addresses, the protocol, clusters, faults, and waiting for work."""
