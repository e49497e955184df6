"""What the server does, apart from HTTP.

access: who sends a request, and how often they may     usage: what requests took, and may take
hooks: the operator's backend is asked, and told        webhooks: whoever asked to be told is told
outgoing: how other servers are asked                   upstreams: models that run there
jobs, batches: work that outlives its connection        pickles: conversion of unsafe checkpoints
metrics, tracing: what can be seen of it                checkup: what is wrong before a start

A request's way: inference → catalogue, request → dispatch, admission → running. What is kept is in
database, tables and migrations.
"""
