"""What a client says of its number of examples moves its weight up to a limit, and no further."""

from __future__ import annotations

import pytest
import torch

from flipbench.integrations.claimed_examples import like_most, number_of_examples, shares_of


@pytest.mark.parametrize("claim", [1e30, 1e308, 5.0])
def test_one_claim_does_not_own_the_round(claim: float) -> None:
    examples = [10.0, 12.0, 9.0, 11.0, claim * 10]
    shares = shares_of(examples, 3.0)
    assert float(shares.sum()) == pytest.approx(1.0)
    assert float(shares[4]) == pytest.approx(33 / (10 + 12 + 9 + 11 + 33))  # three times the median, 11
    torch.testing.assert_close(shares[:4] / shares[0], torch.tensor([1.0, 1.2, 0.9, 1.1], dtype=torch.float64))


def test_honest_counts_are_kept_and_claims_may_be_ignored() -> None:
    torch.testing.assert_close(shares_of([1.0, 3.0], 3.0), torch.tensor([0.25, 0.75], dtype=torch.float64))
    torch.testing.assert_close(shares_of([1.0, 3e9, 5.0], None), torch.full((3,), 1 / 3, dtype=torch.float64))


def test_what_is_no_number_of_examples() -> None:
    for claim in (True, False, 0, 0.0, -1, -1e30, float("nan"), float("inf"), "10", [10], None, 10**400):
        assert number_of_examples(claim) is None
    assert [number_of_examples(claim) for claim in (10, 0.5, 1e308)] == [10.0, 0.5, 1e308]


@pytest.mark.parametrize(
    "odd",
    [
        *({}, {"other": 1.0}, {"loss": 1.0, "more": 1.0}, {"loss": [1.0]}, {"loss": [1.0, 2.0]}),
        *({"loss": float("nan")}, {"loss": "x"}, {"loss": 10**400}),
    ],
)
def test_metrics_that_are_not_like_most_are_told_apart(odd: dict[str, object]) -> None:
    usual = [{"loss": 1.0}, {"loss": 2}, {"loss": -1e308}]
    assert like_most([*usual, odd]) == [True, True, True, False]
    assert like_most([odd, odd, odd, {"loss": 1.0}]) == [True, True, True, False]  # what most have is not hidden
    assert like_most([]) == []
