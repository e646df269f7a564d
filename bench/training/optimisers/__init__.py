"""Optimisers: of the clients' local steps (`local`), of the server (`server`), and the contract of both (`contract`).

Read by whoever adds an optimiser. To extend: a frozen dataclass with ``init`` and ``step`` in `local.OPTIMISERS` or
`server.SERVER_OPTIMISERS`; your own needs no change here (docs/writing_an_optimiser.md).
"""
