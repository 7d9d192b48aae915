"""A server that speaks TensorFlow Serving's REST and gRPC, on replicas that it keeps alive.

One process, `front`, talks with the clients (`connection`): it translates (`rest`, `rpc`), checks names, types and
sizes, joins requests that wait (`joining`), and keeps the replicas (`replicas`). Each of these (`replica`) holds the
models in a process of its own, and is called over a socket (`link`).
"""
