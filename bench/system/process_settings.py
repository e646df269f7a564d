"""Settings of the process that numbers depend on, or that others rely on: read all of them, set them back.

Code of another author may change any of them: PyTorch's default dtype, the working folder, a global random generator.
`Snapshot` remembers how they were. Some are also changed by the import of a package (scikit-learn sets environment
variables, pandas adds warning filters); these are marked, so that a caller can forgive them.
"""

from __future__ import annotations

import gc
import locale
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from ctypes import string_at
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from flipbench.system.private_parts import environment

_TINY = 5e-310  # a denormal float64: multiplied by 1 it is 0 where denormals are flushed
_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGALRM") if hasattr(signal, name)]


@dataclass(frozen=True)
class Setting:
    """One setting of the process.

    Attributes:
        name: as messages say it.
        read: its value, in a form that ``==`` compares; cheap, for it is read around every call of a plug-in.
        write: sets a value that `read` gave.
        standard: the value under which cells run; None: that of the process.
        of_imports: whether importing a package may change it.
    """

    name: str
    read: Callable[[], Any]
    write: Callable[[Any], object]
    standard: Any = None
    of_imports: bool = False


@dataclass(frozen=True)
class _Generator:
    """The state of NumPy's global generator: compared by its bits, set by what NumPy itself gives and takes."""

    bits: bytes
    state: Any = field(compare=False)


_PRECISIONS: tuple[Any, ...] = (
    torch.backends,
    torch.backends.cuda.matmul,
    torch.backends.cudnn,
    *(getattr(torch.backends.cudnn, name) for name in ("conv", "rnn")),
    torch.backends.mkldnn,
    *(getattr(torch.backends.mkldnn, name) for name in ("matmul", "conv", "rnn")),
)
_SWITCHES: tuple[tuple[Any, str], ...] = (
    (torch.backends.cudnn, "enabled"),
    (torch.backends.cudnn, "deterministic"),
    (torch.backends.cudnn, "benchmark"),
    (torch.backends.mkldnn, "enabled"),
)
_MIXED = "mixed"
_DEVICES = ("cpu", "cuda")


def _read_precision() -> tuple[str, ...]:
    try:
        general = torch.get_float32_matmul_precision()
    except RuntimeError:  # set in PyTorch's former and in its new way, which differ
        general = _MIXED
    return general, *(place.fp32_precision for place in _PRECISIONS)


def _write_precision(values: tuple[str, ...]) -> None:
    if values[0] != _MIXED:
        torch.set_float32_matmul_precision(values[0])
    for place, value in zip(_PRECISIONS, values[1:], strict=True):
        place.fp32_precision = value


def _write_determinism(mode: int) -> None:
    """0: any, 1: a warning where an algorithm is not deterministic, 2: an error."""
    if "torch._inductor.config" in sys.modules:  # it has a copy of the setting
        torch.use_deterministic_algorithms(mode > 0, warn_only=mode == 1)
    else:  # the function above imports the compiler, 10 seconds
        torch.set_deterministic_debug_mode(mode)


def _write_switches(values: tuple[bool, ...]) -> None:
    for (place, name), value in zip(_SWITCHES, values, strict=True):
        setattr(place, name, value)


def _write_autocast(values: tuple[bool, ...]) -> None:
    for device, value in zip(_DEVICES, values, strict=True):
        torch.set_autocast_enabled(device, value)


_entered: list[Any] = []


def _write_inference(on: bool) -> None:
    mode = torch.inference_mode(on)  # there is no setter; leaving the mode would set back what was before
    mode.__enter__()
    _entered.append(mode)


def _read_folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def _write_folder(folder: str | None) -> None:
    if folder is not None:
        with suppress(OSError):
            os.chdir(folder)


_NUMPY: Any = np.random  # its stubs leave out what sets and gets its generator
_last_of_numpy: list[_Generator] = []


def _read_numpy() -> _Generator:
    generator = _NUMPY.get_bit_generator()
    if type(generator) is not np.random.MT19937:  # someone put another one in its place
        state = np.random.get_state(legacy=False)
        return _Generator(repr(state).encode(), state)
    # Its own reader takes 80 us, the memory behind it 1 us: 624 numbers and a position, 4 bytes each.
    bits = string_at(generator.ctypes.state_address, 625 * 4)
    if not _last_of_numpy or _last_of_numpy[0].bits != bits:
        _last_of_numpy[:] = [_Generator(bits, np.random.get_state(legacy=False))]
    return _last_of_numpy[0]


def _write_numpy(value: _Generator) -> None:
    if type(_NUMPY.get_bit_generator()).__name__ != value.state["bit_generator"]:
        _NUMPY.set_bit_generator(getattr(np.random, value.state["bit_generator"])())
    np.random.set_state(value.state)


def _read_torch() -> bytes:
    return torch.get_rng_state().numpy().tobytes()


def _write_torch(value: bytes) -> None:
    torch.set_rng_state(torch.frombuffer(bytearray(value), dtype=torch.uint8))


def _read_cuda() -> bytes | None:
    return torch.cuda.get_rng_state().numpy().tobytes() if torch.cuda.is_initialized() else None


def _write_cuda(value: bytes | None) -> None:
    if value is not None:
        torch.cuda.set_rng_state(torch.frombuffer(bytearray(value), dtype=torch.uint8))


def _write_environment(value: Mapping[Any, Any]) -> None:
    now = environment()
    for name in now.keys() - value.keys():
        del os.environ[os.fsdecode(name)]
    for name, text in value.items():
        if now.get(name) != text:
            os.environ[os.fsdecode(name)] = os.fsdecode(text)


def _write_filters(value: list[Any]) -> None:
    warnings.simplefilter("default")  # tells every module that filters changed; there is no other public way
    warnings.filters[:] = value  # type: ignore[index]


def _write_handlers(value: tuple[Any, ...]) -> None:
    if threading.current_thread() is threading.main_thread():  # elsewhere no one can set them
        for number, handler in zip(_SIGNALS, value, strict=True):
            if handler is not None:
                signal.signal(number, handler)


def _read_umask() -> int:
    umask = os.umask(0o077)  # there is no other way to read it
    os.umask(umask)
    return umask


def _write_gc(on: bool) -> None:
    gc.enable() if on else gc.disable()


def _read_locale() -> str:
    return locale.setlocale(locale.LC_ALL)


def _write_locale(value: str) -> None:
    locale.setlocale(locale.LC_ALL, value)


SETTINGS = (  # the first is set back first: a low limit would stop what sets back the others
    Setting(
        "the limit of recursion (sys.setrecursionlimit)", sys.getrecursionlimit, sys.setrecursionlimit, of_imports=True
    ),
    Setting("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    Setting("torch's default device", torch.get_default_device, torch.set_default_device, torch.device("cpu")),
    Setting(
        "the precision of float32 products (torch.set_float32_matmul_precision, torch.backends)",
        _read_precision,
        _write_precision,
        ("highest", "none", "ieee", *["none"] * 7),  # no TF32
    ),
    Setting(
        "torch's choice of deterministic algorithms",
        torch.get_deterministic_debug_mode,
        _write_determinism,
        0,
    ),
    Setting(
        "switches of torch.backends (cudnn, mkldnn)",
        lambda: tuple(getattr(place, name) for place, name in _SWITCHES),
        _write_switches,
        (True, True, False, True),  # cuDNN deterministic
    ),
    Setting("torch's inference mode", torch.is_inference_mode_enabled, _write_inference, False),
    Setting("torch's grad mode", torch.is_grad_enabled, torch.set_grad_enabled, True),
    Setting(
        "torch's autocast",
        lambda: tuple(torch.is_autocast_enabled(device) for device in _DEVICES),
        _write_autocast,
        (False, False),
    ),
    Setting(
        "torch's anomaly detection",
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda values: torch.autograd.set_detect_anomaly(*values),
        (False, True),
    ),
    Setting("the flushing of denormal numbers", lambda: _TINY * 1.0 == 0.0, torch.set_flush_denormal, False),
    Setting(
        "NumPy's error state (np.seterr)",
        np.geterr,
        lambda values: np.seterr(**values),
        {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"},
    ),
    Setting("the working folder", _read_folder, _write_folder),
    Setting("torch's number of threads", torch.get_num_threads, torch.set_num_threads, 1, of_imports=True),
    Setting("torch's global generator", _read_torch, _write_torch, of_imports=True),
    Setting("torch's global CUDA generator", _read_cuda, _write_cuda, of_imports=True),
    Setting("NumPy's global generator", _read_numpy, _write_numpy, of_imports=True),
    Setting("Python's global generator", random.getstate, random.setstate, of_imports=True),
    Setting("environment variables", environment, _write_environment, of_imports=True),
    Setting("warning filters", lambda: list(warnings.filters), _write_filters, of_imports=True),
    Setting("signal handlers", lambda: tuple(signal.getsignal(s) for s in _SIGNALS), _write_handlers, of_imports=True),
    Setting("the umask of new files (os.umask)", _read_umask, os.umask),
    Setting("Python's garbage collector (gc.disable)", gc.isenabled, _write_gc, of_imports=True),
    Setting("the locale", _read_locale, _write_locale, of_imports=True),
)

GENERATORS = frozenset(setting.name for setting in SETTINGS if setting.name.endswith("generator"))


class Snapshot:
    """All settings as they are when it is made."""

    def __init__(self) -> None:
        self._modules = len(sys.modules)
        self._values = [setting.read() for setting in SETTINGS]

    def set_back(self) -> list[str]:
        """Set back what was changed since; its names, without what the import of a package meanwhile may explain."""
        imported = len(sys.modules) != self._modules
        changed = []
        for setting, value in zip(SETTINGS, self._values, strict=True):
            if setting.read() != value:
                setting.write(value)
                changed.append(setting)
        return [setting.name for setting in changed if not (imported and setting.of_imports)]


@contextmanager
def kept() -> Iterator[None]:
    """Settings are afterwards what they were, whatever happens within."""
    before = Snapshot()
    try:
        yield
    finally:
        before.set_back()


@contextmanager
def standard() -> Iterator[None]:
    """Settings under which cells run, whatever the caller's are; afterwards the caller's again."""
    before = Snapshot()
    try:
        for setting in SETTINGS:
            if setting.standard is not None and setting.read() != setting.standard:
                setting.write(setting.standard)
        yield
    finally:
        before.set_back()
