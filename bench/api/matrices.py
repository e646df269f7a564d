"""One call of an aggregator on a matrix of one's own: NumPy, PyTorch or lists in, the same kind out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np
import torch
from torch import Tensor

from flipbench.aggregators.cohort_checks import check_weights
from flipbench.aggregators.contract import Cohort
from flipbench.errors import UserError
from flipbench.plugins import registry

if TYPE_CHECKING:
    from numpy.typing import NDArray

Rule = str | Callable[..., Any]
Lists = Sequence[Sequence[float]]
Array = TypeVar("Array", Tensor, "NDArray[Any]")


@overload
def aggregate(rule: Rule, updates: Array, byzantine: int = 0, **cohort: Any) -> Array: ...
@overload
def aggregate(rule: Rule, updates: Lists, byzantine: int = 0, **cohort: Any) -> list[float]: ...
def aggregate(rule: Rule, updates: Any, byzantine: int = 0, **cohort: Any) -> Any:
    """The update that a server would take from its clients' updates.

    >>> import numpy as np
    >>> import flipbench as fb
    >>> updates = np.array([[1.0, 2.0], [1.0, 2.0], [1.0, 2.0], [9.0, -9.0]])
    >>> fb.aggregate("median", updates, byzantine=1)
    array([1., 2.])
    >>> fb.aggregate("nnm | trimmed_mean", updates.tolist(), byzantine=1)
    [1.0, 2.0]
    >>> fb.aggregate("krum", updates, byzantine=2)
    Traceback (most recent call last):
        ...
    flipbench.aggregators.contract.Infeasible: krum needs at least 2f + 3 = 7 clients for f = 2, got 4

    Args:
        rule: a name with options, a chain like ``nnm | trimmed_mean(trim=3)``, or a function ``(updates, cohort) ->
            update``.
        updates: ``(clients, dim)``, or a stack ``(cells, clients, dim)``: new minus old weights, one row a client.
            Whole numbers count as float64.
        byzantine: f, the number of clients that may be malicious.
        **cohort: other fields of `Cohort`, like ``weights`` (clients,), shares that sum to 1; ``previous`` (dim,);
            ``model`` (dim,), the global model's weights; ``trusted``, the server's own update on its root data, or a
            function that gives it; and ``round``.

    Returns:
        The update, ``(dim,)`` or ``(cells, dim)``: an array of the same type and device, or a list.

    Raises:
        Infeasible: the rule's conditions do not hold for so many clients.
        UserError: no matrix of numbers, weights that are no shares (counts, say), another field of the cohort of
            a wrong shape or not finite, f that is negative or not below the number of clients, a row that is not
            finite (a federation leaves such a client out before the rule), or no such rule.
    """
    matrix = _matrix(updates)
    clients = matrix.shape[-2]
    if isinstance(byzantine, bool) or not isinstance(byzantine, int) or not 0 <= byzantine < clients:
        raise UserError(f"byzantine is a whole number from 0 to {clients - 1} for {clients} clients, got {byzantine!r}")
    given_cohort = Cohort.of(matrix, byzantine, **_fields(matrix, cohort))
    called: Any = registry.resolve("aggregator", rule) if isinstance(rule, str) else rule
    if not callable(called):
        raise UserError(f"a rule is a name or a function, got {type(rule).__name__}")
    called = called() if isinstance(called, type) else called
    memory = (called.init(matrix, given_cohort),) if hasattr(called, "init") else ()
    answer = called(matrix, given_cohort, *memory)
    answer = answer[0] if memory else answer
    wanted = (*matrix.shape[:-2], matrix.shape[-1])
    if not isinstance(answer, Tensor) or tuple(answer.shape) != wanted:
        actual = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise UserError(f"the rule gave {actual} in place of a tensor of shape {wanted}")
    if isinstance(updates, Tensor):
        return answer
    return answer.numpy() if isinstance(updates, np.ndarray) else answer.tolist()


def _matrix(updates: Any) -> Tensor:
    """Updates as a tensor of floating-point numbers.

    Raises:
        UserError: not that.
    """
    try:
        matrix = updates.detach() if isinstance(updates, Tensor) else torch.from_numpy(np.array(updates))
    except (TypeError, ValueError) as error:
        raise UserError(f"updates are a matrix (clients, dim) of numbers, one row a client: {error}") from error
    if not matrix.is_floating_point():
        if matrix.is_complex() or matrix.dtype == torch.bool:
            raise UserError(f"updates are real numbers, got {matrix.dtype}")
        matrix = matrix.double()
    if matrix.ndim < 2 or 0 in matrix.shape:
        raise UserError(f"updates are a matrix (clients, dim), one row a client; got shape {tuple(matrix.shape)}")
    broken = (~torch.isfinite(matrix).all(dim=-1)).nonzero()
    if len(broken):
        rows = ", ".join(str(row[-1]) for row in broken[:5].tolist())
        raise UserError(
            f"the updates of {len(broken)} clients hold NaN or infinity (row {rows}): leave these rows out, and lower "
            "byzantine by as many, as a federation does"
        )
    return matrix


def _fields(matrix: Tensor, given: dict[str, Any]) -> dict[str, Any]:
    """The other fields of a cohort, arrays as tensors.

    Raises:
        UserError: a cohort has no such field, a shape is wrong, or numbers are not what the field needs.
    """
    shapes = {
        "weights": matrix.shape[:-1],
        "clients": matrix.shape[:-1],
        "previous": (*matrix.shape[:-2], matrix.shape[-1]),
        "trusted": (*matrix.shape[:-2], matrix.shape[-1]),
        "model": (*matrix.shape[:-2], matrix.shape[-1]),
    }
    known = (*shapes, "layout", "round", "seeds")
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise UserError(f"a cohort has no field {name!r}; there are byzantine, {', '.join(known)}")
        if name in shapes and not callable(value):
            kind = {"clients": torch.int64, "weights": torch.promote_types(matrix.dtype, torch.float32)}.get(
                name, matrix.dtype
            )
            try:
                value = torch.as_tensor(value, dtype=kind, device=matrix.device)
            except (TypeError, ValueError, RuntimeError) as error:
                raise UserError(f"{name} needs numbers of the shape {tuple(shapes[name])}: {error}") from error
            if tuple(value.shape) != tuple(shapes[name]):
                raise UserError(f"{name} needs the shape {tuple(shapes[name])}, got {tuple(value.shape)}")
            if not bool(torch.isfinite(value).all()):
                raise UserError(f"{name} needs finite numbers, got NaN or infinity")
            if name == "weights":
                try:
                    check_weights(matrix, value)
                except ValueError as error:
                    raise UserError(str(error)) from error
        found[name] = value
    if "trusted" in found and not callable(found["trusted"]):
        own = found["trusted"]
        found["trusted"] = lambda: own
    return found
