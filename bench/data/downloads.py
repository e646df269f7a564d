"""Fetching the files of a release, only when asked, with fixed checksums, into the user's cache folder."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pooch

from flipbench.data import idx, locations
from flipbench.errors import UserError

_AFTER = (
    "is there a network, and room in that folder? Files fetched in another way belong into the same folder, under the "
    "same names"
)


@dataclass(frozen=True)
class Remote:
    """A file of a release.

    Attributes:
        file: its name, here and there.
        md5: of the file as it is fetched.
        mirrors: addresses of the folder that holds it.
        members: of a zip archive, the files that are taken out of it, by their paths in it; the rest is not kept.
    """

    file: str
    md5: str
    mirrors: tuple[str, ...]
    members: tuple[str, ...] = ()


def ensure(spec: idx.Spec, path: str | None) -> None:
    """Fetch what is lacking of four IDX files, unless a place holds the data set already.

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
        if path is not None or not 0 < len(idx.present(target, spec.parts)) < len(spec.parts):
            raise
    for part, md5 in zip(spec.parts, spec.md5, strict=True):
        if part not in idx.present(target, spec.parts):
            _fetch(spec.name, Remote(f"{part}.gz", md5, spec.mirrors), target)


def ensure_files(name: str, folder: str, remotes: Sequence[Remote], find: Callable[[], Any]) -> None:
    """Fetch the files of a release, unless a place holds the data set already.

    Args:
        name: of the data set, for messages.
        folder: its folder in the cache folder.
        remotes: its files.
        find: finds them where they are, or raises `NotFoundError`.

    Raises:
        UserError: no mirror gave the files.
    """
    try:
        find()
        return
    except locations.NotFoundError:
        pass
    target = locations.cache() / folder
    for remote in remotes:
        wanted = [target / os.path.basename(member) for member in remote.members] or [target / remote.file]
        if not all(file.is_file() for file in wanted):
            _fetch(name, remote, target)
            _take_out(remote, target)


def _take_out(remote: Remote, target: Path) -> None:
    """The members of an archive as files, each whole or not at all; the archive goes."""
    if not remote.members:
        return
    archive = target / remote.file
    with zipfile.ZipFile(archive) as held:
        for member in remote.members:
            file = target / os.path.basename(member)
            half = file.with_name(f"{file.name}.part")
            with held.open(member) as source, half.open("wb") as out:
                shutil.copyfileobj(source, out)
            half.replace(file)
    archive.unlink()


def _fetch(name: str, remote: Remote, target: Path) -> None:
    failures = []
    for mirror in remote.mirrors:
        try:
            pooch.retrieve(
                mirror + remote.file, known_hash=f"md5:{remote.md5}", fname=remote.file, path=target, progressbar=False
            )
            return
        except (OSError, ValueError) as error:  # no network, no room, another checksum
            failures.append(f"  {mirror}{remote.file}: {' '.join(str(error).split())[:200]}")
    raise UserError("\n".join([f"{name} cannot be downloaded to {target}:", *failures, _AFTER]))
