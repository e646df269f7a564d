"""Fetching the four IDX files of a release, only when asked, with fixed checksums, into the user's cache folder."""

from __future__ import annotations

from pathlib import Path

import pooch

from flipbench.data import idx, locations
from flipbench.errors import UserError

_AFTER = (
    "is there a network, and room in that folder? Files fetched in another way belong into the same folder, under the "
    "same names"
)


def ensure(spec: idx.Spec, path: str | None) -> None:
    """Fetch what is lacking, unless a place holds the data set already.

    Raises:
        UserError: a place other than the cache folder holds a part of it only; no mirror gave the files.
    """
    target = locations.cache() / spec.folder
    try:
        idx.find(spec, path)
        return
    except locations.NotFoundError:
        pass
    except UserError:
        if path is not None or not 0 < len(idx.present(target)) < len(idx.PARTS):
            raise
    for part, md5 in zip(idx.PARTS, spec.md5, strict=True):
        if part not in idx.present(target):
            _fetch(spec, f"{part}.gz", md5, target)


def _fetch(spec: idx.Spec, file: str, md5: str, target: Path) -> None:
    failures = []
    for mirror in spec.mirrors:
        try:
            pooch.retrieve(mirror + file, known_hash=f"md5:{md5}", fname=file, path=target, progressbar=False)
            return
        except (OSError, ValueError) as error:  # no network, no room, another checksum
            failures.append(f"  {mirror}{file}: {' '.join(str(error).split())[:200]}")
    raise UserError("\n".join([f"{spec.name} cannot be downloaded to {target}:", *failures, _AFTER]))
