"""Requests to servers that the operator named: the client, its retries and its circuit breaker.

Not for links of clients, which could name a machine behind the firewall: services/remote_call.
"""
