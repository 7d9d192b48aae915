"""A server that speaks TensorFlow Serving's REST and gRPC, on replicas that Ray Serve keeps alive.

One process, `front`, talks with the clients (`connection`): it translates (`rest`, `rpc`), checks names, types and
sizes, and joins requests that wait (`joining`). Replicas (`replica`) hold the models, each in a process of its own.
"""
