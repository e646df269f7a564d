"""One data set in memory: images, features or token ids with labels, split into training and test examples."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from flipbench.data import array_checks, locations, own_arrays
from flipbench.data.input_shape import InputKind, InputShape
from flipbench.data.splits import divided, subset
from flipbench.errors import UserError
from flipbench.spec.reference import Reference
from flipbench.system import atomic_files

SIDES = ("train_x", "train_y", "test_x", "test_y")
Split = Literal["official", "files", "stratified", "lesion", "row", "client"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set as loaded; a plug-in loader returns one of these too.

    Arrays may be PyTorch's or NumPy's: what is no tensor of the type below is made one where no number changes but by
    rounding to float32.

    Attributes:
        name: as grids name it.
        classes: names of the classes, in label order.
        train_x: one of three kinds, by its type. Images: ``(n, channels, height, width)`` uint8. Features: ``(n, ...)``
            float32, finite. Token ids: ``(n, length)`` int64, 0 to vocabulary - 1.
        train_y: ``(n,)`` int64, labels 0 to L - 1.
        test_x: like train_x.
        test_y: like train_y.
        split: origin of the split into training and test: ``official`` as published; ``files`` as the files
            have it, which are not the published ones; ``stratified`` ours, by class;
            ``lesion`` ours, by class with all images of a lesion on one side; ``row`` ours, by class and row;
            ``client`` ours, a share of each natural client's examples.
        sha256: of the decompressed content, the same for a packed and a plain file; filled in from the tensors when
            left empty.
        levels: of images: the largest pixel value of the scale: 255, or 16 for digits.
        sources: the files that were read.
        notes: what a reader of results should know, one sentence each.
        vocabulary: of token ids: how many ids there are.
        padding: of token ids: the id that fills the end of a text; None: there is none.
        clients: ``(n,)`` int64, the natural client of each training example, from 0, for ``partition: natural``;
            None: there are none.
        client_names: of the natural clients, in the order of their numbers; empty: they have none.

    Raises:
        UserError: tensors of another shape or type, labels outside the classes, pixels above levels, features that are
            not finite, ids outside the vocabulary, an empty side.
    """

    name: str
    classes: tuple[str, ...]
    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor
    split: Split
    sha256: str = ""
    levels: int = 255
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    vocabulary: int | None = None
    padding: int | None = None
    clients: Tensor | None = None
    client_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in SIDES:
            convert = own_arrays.as_examples if name.endswith("x") else own_arrays.as_numbers
            object.__setattr__(self, name, convert(getattr(self, name)))
        object.__setattr__(self, "clients", own_arrays.as_numbers(self.clients))
        if self.split not in get_args(Split):
            raise UserError(f"data set {self.name}: split is {self.split!r}; it is one of {', '.join(get_args(Split))}")
        words = self.vocabulary, self.padding
        for side, x, y in (("train", self.train_x, self.train_y), ("test", self.test_x, self.test_y)):
            if problem := array_checks.problem(x, y, len(self.classes), self.levels, *words):
                raise UserError(f"data set {self.name}, {side} side: {problem}")
        self._check_sides()
        if problem := array_checks.problem_of_clients(self.clients, self.client_names, len(self.train_y)):
            raise UserError(f"data set {self.name}: {problem}")
        if not self.sha256:
            object.__setattr__(self, "sha256", self._digest())

    def _check_sides(self) -> None:
        """Training and test examples are of one kind and shape."""
        what = {"image": "images", "features": "features", "tokens": "token ids"}
        one, two = (what[array_checks.kind_of(x)] for x in (self.train_x, self.test_x))
        if one != two:
            raise UserError(f"data set {self.name}: its training side holds {one}, its test side {two}")
        if self.train_x.shape[1:] != self.test_x.shape[1:]:
            raise UserError(
                f"data set {self.name}: training {one} of shape {tuple(self.train_x.shape[1:])}, "
                f"test {one} of shape {tuple(self.test_x.shape[1:])}"
            )

    def _digest(self) -> str:
        """Of the arrays; for images without natural clients of nothing else."""
        facts: tuple[Any, ...] = () if self.kind == "image" else (self.kind, self.vocabulary, self.padding)
        more = () if self.clients is None else (self.clients,)
        return _digest(facts, self.train_x, self.train_y, self.test_x, self.test_y, *more)

    @classmethod
    def of(
        cls,
        x: Any,
        y: Any,
        *,
        name: str = "mine",
        test: tuple[Any, Any] | None = None,
        held_out: float = 0.2,
        classes: Sequence[str] | None = None,
        vocabulary: int | None = None,
        padding: int | None = None,
        clients: Any = None,
    ) -> Dataset:
        """A data set of your own arrays, which a grid takes as it is: ``{"dataset": fb.Dataset.of(x, y)}``.

        Args:
            x: images ``(n, channels, height, width)`` uint8, features ``(n, ...)`` of floats, or token ids
                ``(n, length)`` of whole numbers; an array, a tensor, a table of numbers (pandas) or lists.
            y: ``(n,)``, labels from 0, or names of classes.
            name: of the data set.
            test: x and y to test on; None: a share is held out.
            held_out: share to test on, of each class, or of each natural client, the same in every run.
            classes: names in label order; None: the numbers, of which each occurs, or the names by their letters.
            vocabulary: number of token ids.
            padding: the id that fills the end of a text.
            clients: ``(n,)`` whole numbers from 0, or names, the natural client of each example.

        Raises:
            UserError: arrays that are no data set.
        """
        xs, (owners, people) = own_arrays.as_examples(x), own_arrays.owned(clients)
        (ys, *others), names = own_arrays.labelled([y, *([test[1]] if test else [])], classes, f"data set {name}")
        if problem := array_checks.problem_of_type(xs) or array_checks.problem_of_labels(ys, len(xs), None):
            raise UserError(f"data set {name}: {problem}")
        if problem := array_checks.problem_of_clients(owners, people, len(ys)):
            raise UserError(f"data set {name}: {problem}")
        # Before a share is held out: rows are still those of the caller.
        if problem := array_checks.channels_last(xs) or array_checks.problem_of_values(xs, 255, vocabulary, padding):
            raise UserError(f"data set {name}: {problem}")
        if test is None:
            if not 0 < held_out < 1:
                raise UserError(f"data set {name}: held_out is a share above 0 and below 1, got {held_out}")
            rows, tried = divided(ys, owners, held_out, "own arrays split")
            sides = xs[rows], ys[rows], xs[tried], ys[tried]
            split, owners = ("stratified", None) if owners is None else ("client", owners[rows])
        else:
            sides, split = (xs, ys, test[0], *others), "files"
        texts: dict[str, Any] = {"vocabulary": vocabulary, "padding": padding, "clients": owners, "split": split}
        texts["client_names"] = people
        return cls(name, names, *sides, **texts)

    def as_reference(self) -> str:
        """How a grid names it: the archive that it is written to in the user's cache folder, by its content.

        Raises:
            UserError: there is no room for it.
        """
        held = {name: getattr(self, name).numpy() for name in SIDES}
        held |= {"classes": np.array(self.classes), "name": np.array(self.name), "split": np.array(self.split)}
        held |= {"levels": np.array(self.levels)} if self.kind == "image" else {}
        for name in ("vocabulary", "padding"):
            held |= {} if getattr(self, name) is None else {name: np.array(getattr(self, name))}
        if self.clients is not None:
            numbers = self.clients.numpy()
            held["clients"] = np.array(self.client_names)[numbers] if self.client_names else numbers
        packed = io.BytesIO()
        np.savez(packed, **held)
        file = locations.cache() / "own" / f"{self.name}-{hashlib.sha256(packed.getvalue()).hexdigest()[:16]}.npz"
        try:
            if not file.is_file():
                atomic_files.replace(file, packed.getvalue())
        except OSError as error:
            raise UserError(f"data set {self.name} cannot be written to {file}: {error.strerror or error}") from error
        return str(Reference("npz", {"path": str(file)}))

    def copied(self) -> Dataset:
        """The same data in tensors that no other holds."""
        own = {side: getattr(self, side).detach().clone() for side in SIDES}
        return replace(self, **own, clients=None if self.clients is None else self.clients.detach().clone())

    @property
    def kind(self) -> InputKind:
        """``image``, ``features`` or ``tokens``."""
        return array_checks.kind_of(self.train_x)

    @property
    def shape(self) -> InputShape:
        """Of one example, as models are given it; (channels, height, width) of an image."""
        return InputShape(self.train_x.shape[1:], self.kind, self.vocabulary, self.padding)

    @property
    def client_sizes(self) -> tuple[int, ...]:
        """Training examples of each natural client that has any, ascending."""
        if self.clients is None:
            return ()
        return tuple(sorted(n for n in torch.bincount(self.clients).tolist() if n))

    @property
    def counts(self) -> tuple[tuple[int, int], ...]:
        """Training and test examples of each class, in label order."""
        train, test = (torch.bincount(y, minlength=len(self.classes)).tolist() for y in (self.train_y, self.test_y))
        return tuple(zip(train, test, strict=True))


def shortened(dataset: Dataset, train: int | None, test: int | None) -> Dataset:
    """The data set with at most so many examples a side: a subset with the same shares of the classes.

    The subset depends on the numbers alone, never on a cell's seed, and the rows keep their order.

    Args:
        dataset: as loaded.
        train: training examples to keep; None: all.
        test: test examples to keep; None: all.

    Raises:
        UserError: fewer than one example is asked for, or more than there are.
    """
    if train is not None:
        rows = _some(dataset.name, "train", dataset.train_y, train)
        clients = None if dataset.clients is None else dataset.clients[rows]
        dataset = replace(dataset, train_x=dataset.train_x[rows], train_y=dataset.train_y[rows], clients=clients)
    if test is not None:
        rows = _some(dataset.name, "test", dataset.test_y, test)
        dataset = replace(dataset, test_x=dataset.test_x[rows], test_y=dataset.test_y[rows])
    return dataset


def _some(name: str, side: str, labels: Tensor, number: int) -> Tensor:
    if not 1 <= number <= len(labels):
        raise UserError(f"{name}({side}={number}): give a number from 1 to {len(labels)}, or leave {side} out for all")
    return subset(labels, number, f"{side} subset")


def _digest(facts: tuple[Any, ...], *tensors: Tensor) -> str:
    digest = hashlib.sha256(repr(facts).encode() if facts else b"")
    for t in tensors:
        digest.update(str(tuple(t.shape)).encode())
        digest.update(t.contiguous().numpy().tobytes())
    return digest.hexdigest()
