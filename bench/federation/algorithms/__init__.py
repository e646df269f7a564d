"""Algorithms of a federation beyond FedAvg: what clients train with and send, and the server's step."""
