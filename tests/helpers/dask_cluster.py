"""A Dask cluster in a process of its own, for tests: prints its address, ends when its standard input does.

python tests/dask_cluster.py WORKERS [--threads N] [--tls FOLDER]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("workers", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tls", type=Path, metavar="FOLDER")
    args = parser.parse_args()
    import dask
    from distributed import LocalCluster
    from distributed.security import Security

    security = None
    if args.tls is not None:
        ca, cert, key = (str(args.tls / name) for name in ("ca.pem", "cert.pem", "key.pem"))
        files = {
            f"tls_{role}_{what}": file
            for role in ("scheduler", "worker", "client")
            for what, file in (("cert", cert), ("key", key))
        }
        security = Security(tls_ca_file=ca, require_encryption=True, **files)
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 2}),
        LocalCluster(
            n_workers=args.workers,
            threads_per_worker=args.threads,
            processes=True,
            host="127.0.0.1",
            protocol="tls" if args.tls else "tcp",
            security=security,
            dashboard_address=None,
            memory_limit=0,
        ) as cluster,
    ):
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
