"""Natural clients: who takes part, how many there are, and whole cells with them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flipbench.data.partitions import natural, with_clients
from flipbench.errors import UserError
from flipbench.federation.population import populate
from flipbench.plugins import registry
from flipbench.spec.cell import Cell

OWNERS = torch.tensor([5, 0, 2, 2, 0, 5, 5, 7, 3, 3])  # sizes: client 0 2, 2 2, 3 2, 5 3, 7 1
LABELS = torch.zeros(10, dtype=torch.int64)


def deal(clients: int, seed: int = 0, **options: int) -> list[list[int]]:
    parts = natural(LABELS, clients, torch.Generator().manual_seed(seed), OWNERS, **options)
    return [part.tolist() for part in parts]


def test_each_client_holds_one_natural_clients_examples_in_the_order_of_the_data() -> None:
    assert deal(4) == [[1, 4], [2, 3], [8, 9], [0, 5, 6]]
    assert deal(5, minimum=1) == [[1, 4], [2, 3], [8, 9], [0, 5, 6], [7]]
    assert deal(1, minimum=3) == [[0, 5, 6]]


def test_where_there_are_more_the_seed_draws() -> None:
    drawn = {str(deal(2, seed)) for seed in range(40)}
    assert len(drawn) == 6  # every pair of the four
    assert deal(2, 3) == deal(2, 3)


@pytest.mark.parametrize(
    ("clients", "options", "text"),
    [
        (5, {}, "of 5 natural clients 4 have at least 2 examples, and there are to be 5 clients; take at most 4"),
        (6, {"minimum": 1}, "of 5 natural clients 5 have at least 1 example, .* take at most 5"),
        (1, {"minimum": 9}, "0 have at least 9 examples, .* lower minimum to at most 3"),
        (1, {"minimum": 0}, "a minimum of 1 or more, got 0"),
    ],
)
def test_too_few_natural_clients_are_an_error_with_the_numbers(
    clients: int, options: dict[str, int], text: str
) -> None:
    with pytest.raises(UserError, match=text):
        deal(clients, **options)


def test_data_without_natural_clients_are_an_error() -> None:
    with pytest.raises(UserError, match="natural needs data with natural clients"):
        with_clients(natural, None)(LABELS, 2, torch.Generator())


def test_a_population_has_natural_clients_without_the_servers_own_examples() -> None:
    cell = Cell(partition="natural(minimum=1)", clients=3, root_examples=2, rounds=1)
    partition = registry.resolve("partition", cell.partition)
    population = populate(cell, LABELS, 1, partition, None, owners=OWNERS)
    for part in population.parts:
        assert len(OWNERS[part].unique()) == 1
        assert not set(part.tolist()) & set(population.root.tolist())
        rest = torch.ones(10, dtype=torch.bool)
        rest[population.root] = False
        assert len(part) == int((rest & (OWNERS[part[0]] == OWNERS)).sum())
    with pytest.raises(UserError, match="natural clients"):
        populate(replace(cell, clients=9), LABELS, 1, partition, None, owners=OWNERS)
