"""The bytes of a record's file: its canonical JSON with the hash of exactly those bytes spliced in as last member.

So a check costs one pass of SHA-256 and no second encoding, and what passed it is what `encode` wrote: the few facts
that a look over a hundred thousand files needs are found in the text without parsing it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import from_json

from flipbench.spec.key import SCHEMA, canonical_json

Record = dict[str, Any]

DEFECTS = {
    "empty": "nothing in it",
    "torn": "cut off, or changed after it was written: the bytes do not have the hash they carry",
    "foreign": "another cell's record under this name",
    "schema": "a record of another version of flipbench",
    "odd": "whole, but not what flipbench writes",
    "unreadable": "whole, but its text is no JSON that can be read",
    "irregular": "no regular file but a link, a pipe or a folder",
}

# None of these can occur inside a JSON text, whose quotes would be escaped. Members are sorted: what is looked for from
# the end stands behind the long result.
_BODY = b',"body":"'
_KEY = b',"key":"%b",'
_OURS = b',"schema":%d,"' % SCHEMA
_OF_SCHEMA = re.compile(rb',"schema":\d{1,9},')
_STATUS = b',"status":"'
_SURROGATE = rb"\ud"  # half of a character beyond the first 65,536; without its other half it is none


def encode(record: Mapping[str, Any]) -> bytes:
    """The file of a record: its canonical JSON (non-finite floats as null) with the hash of it as last member.

    Halves of characters, as an exception's text about a file name may hold, become replacement characters.
    """
    rest = {name: value for name, value in record.items() if name != "body"}
    try:
        text = canonical_json(rest)
    except ValueError:  # a NaN or an infinity somewhere: rare, so looked for only now
        text = canonical_json(rest := finite(rest))
    if not _readable(text):
        text = canonical_json(well_formed(rest))
    return text[:-1] + _BODY + hashlib.sha256(text).hexdigest().encode() + b'"}\n'


def is_intact(raw: bytes, key: str) -> bool:
    """Whether a file is exactly what `encode` wrote for this key and schema."""
    return defect(raw, key) is None


def defect(raw: bytes | None, key: str) -> str | None:
    """What is wrong with the bytes of a record's file: one of `DEFECTS`; None when they can be trusted."""
    if not raw:
        return "empty"
    end = raw.rfind(_BODY)
    text = hashlib.sha256(memoryview(raw)[: max(end, 0)])
    text.update(b"}")
    if end < 0 or raw[end + len(_BODY) :] != text.hexdigest().encode() + b'"}\n':
        return "torn"
    if raw.find(_KEY % key.encode(), 0, end) < 0:
        return "foreign"
    if raw.rfind(_OURS, 0, end) >= 0:
        return None if _readable(raw) else "unreadable"
    return "schema" if _OF_SCHEMA.search(raw, 0, end) else "foreign"


def status(raw: bytes) -> str | None:
    """The status of a record whose bytes are intact: done, infeasible or failed."""
    start = raw.rfind(_STATUS) + len(_STATUS)
    return raw[start : raw.index(b'"', start)].decode() if start >= len(_STATUS) else None


def _readable(text: bytes) -> bool:
    """Whether a JSON text of Python's can be read by others; only halves of characters could prevent it."""
    if _SURROGATE not in text:
        return True
    try:
        from_json(text)
    except ValueError:
        return False
    return True


def finite(value: Any) -> Any:
    """The same nested value with every non-finite float replaced by None."""
    return _mended(value, lambda one: None if isinstance(one, float) and not math.isfinite(one) else one)


def well_formed(value: Any) -> Any:
    """The same nested value with every half of a character in its texts replaced by U+FFFD."""

    def mend(one: Any) -> Any:
        if not isinstance(one, str) or one.isascii():
            return one
        return one.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    return _mended(value, mend)


def _mended(value: Any, mend: Callable[[Any], Any]) -> Any:
    """The same nested value with every leaf and every name replaced."""
    if isinstance(value, Mapping):
        return {mend(name): _mended(one, mend) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_mended(one, mend) for one in value]
    return mend(value)
