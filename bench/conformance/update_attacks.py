"""Checks of update attacks: what they may read, what they must leave unchanged, and that they have an effect."""

from __future__ import annotations

import pickle
from dataclasses import fields, is_dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from flipbench.conformance.attack_cases import Attack, AttackProperty, quiet_generators, settings_property
from flipbench.conformance.cases import Broken, as_text
from flipbench.conformance.update_rounds import Round, ask, cast, draw, long, rounds, tensors

_NEAR = 0.01  # of the distance from the honest mean: what float32 may lose


def form(attack: Attack) -> None:
    """One row a malicious client, of the updates' type, for float64 and for long vectors too."""
    for case in (*rounds(attack), long(attack)):
        for kind in (torch.float32, torch.float64):
            same = cast(case, kind)
            answer = ask(attack, same)[0]
            if answer.dtype != kind:
                raise Broken(f"{attack.name}, {same}", f"answered {answer.dtype} where the updates are {kind}")


def finite(attack: Attack) -> None:
    """No NaN and no infinity: the bench would leave such a client out, and the attack would be none."""
    for case in (*rounds(attack), long(attack)):
        answer = ask(attack, case)[0]
        if not bool(torch.isfinite(answer).all()):
            bad = int((~torch.isfinite(answer)).sum())
            raise Broken(
                f"{attack.name}, {case}", f"{bad} of {answer.numel()} numbers are not finite: {as_text(answer)}"
            )


def untouched(attack: Attack) -> None:
    """Neither what the clients would send, nor what the honest ones do send, nor the rest of the context changes."""
    for case in rounds(attack):
        before = {name: t.clone() for name, t in tensors(case).items()}
        answer = ask(attack, case)[0]
        for name, t in tensors(case).items():
            if not torch.equal(t, before[name]):
                raise Broken(f"{attack.name}, {case}", f"{name} changed")
        kept = answer.clone()
        ask(attack, draw(8, 2, 12, seed=5))
        if not torch.equal(answer, kept):
            raise Broken(f"{attack.name}, {case}", "its earlier answer changed when it was asked again")


def randomness(attack: Attack) -> None:
    """No global generator is read, moved or seeded."""
    for case in rounds(attack):
        with quiet_generators(f"{attack.name}, {case}"):
            ask(attack, case)


def repeatable(attack: Attack) -> None:
    """The same round and the same generator: the same answer, whatever was asked between."""
    for case in rounds(attack):
        first = ask(attack, case)[0].clone()
        ask(attack, draw(8, 2, 12, seed=5))
        if not torch.equal(first, ask(attack, case)[0]):
            raise Broken(f"{attack.name}, {case}", "the same generator gave another answer the second time")


def memory(attack: Attack) -> None:
    """State is passed, not kept: two federations side by side, or one that goes on from a stored state, differ not."""
    here = [draw(8, 2, 12, seed=1, number=r) for r in (1, 2, 3)]
    there = [draw(8, 2, 12, seed=2, number=r) for r in (1, 2, 3)]
    alone, states = _played(attack, here)
    mixed: list[Tensor] = []
    own = others = None
    for a, b in zip(here, there, strict=True):
        answer, own = ask(attack, a, own)
        mixed.append(answer.clone())
        others = ask(attack, b, others)[1]
    for number, (apart, together) in enumerate(zip(alone, mixed, strict=True), 1):
        if not torch.equal(apart, together):
            raise Broken(f"{attack.name}, {here[number - 1]}", "answers otherwise beside another federation")
    try:
        kept = pickle.loads(states[0])
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise Broken(attack.name, f"its state cannot be pickled: {error}") from error
    again = ask(attack, here[1], kept)[0]
    if not torch.equal(again, alone[1]):
        raise Broken(f"{attack.name}, {here[1]}", "answers otherwise when it goes on from its stored state")


def _played(attack: Attack, played: list[Round]) -> tuple[list[Tensor], list[bytes]]:
    """The answers of one federation, and the state after each round as it was then."""
    answers: list[Tensor] = []
    states: list[bytes] = []
    state: Any = None
    for case in played:
        before = None if state is None else pickle.dumps(_plain(state))
        answer, after = ask(attack, case, state)
        if before is not None and pickle.dumps(_plain(state)) != before:
            raise Broken(f"{attack.name}, {case}", "changed the state that it was given")
        answers.append(answer.clone())
        state = after
        try:
            states.append(pickle.dumps(state))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise Broken(attack.name, f"its state cannot be pickled: {error}") from error
    return answers, states


def _plain(state: Any) -> Any:
    """A state as numbers, so that a change shows."""
    if isinstance(state, Tensor):
        return state.detach().cpu().numpy().tobytes()
    if isinstance(state, dict):
        return {k: _plain(v) for k, v in state.items()}
    if isinstance(state, list | tuple):
        return [_plain(v) for v in state]
    if is_dataclass(state) and not isinstance(state, type):
        return [_plain(getattr(state, f.name)) for f in fields(state)]
    return state


def rule(attack: Attack) -> None:
    """Only an attack that declares it asks the rule, and one that declares it does ask."""
    asked = False
    for case in rounds(attack):
        ask(attack, case)
        asked |= bool(case.asked)
    if attack.declares("adaptive") and not asked:
        raise Broken(
            attack.name,
            "declares adaptive = True and never asks context.aggregate",
            "tables mark it as one that knows the rule, and it does not",
            "leave the declaration out",
        )


def alive(attack: Attack) -> None:
    """What is sent is not what would be sent honestly."""
    for case in rounds(attack):
        if case.note or case.updates.shape[1] == 1:
            continue  # where all agree there may be nothing to do
        sizes = (len(case.context.honest), *case.updates.shape)
        state, changed = None, False
        for number in (2, 3, 4) if attack.remembers else (2,):  # a memory may need rounds to fill
            now = draw(*sizes, number=number)
            answer, state = ask(attack, now, state)
            changed |= not torch.equal(answer, now.updates)
        if not changed:
            raise Broken(f"{attack.name}, {case}", "the malicious clients send what they would send honestly")


def precision(attack: Attack) -> None:
    """float32 is near float64 where honest updates nearly agree; not asked of draws and of searches."""
    case = long(attack, apart=1e-5, note="updates that differ by 1e-5")
    first = ask(attack, case)[0]
    if not torch.equal(first, ask(attack, replace(case, seed=9))[0]):
        return  # drawn at random, and another type draws other numbers
    exact = ask(attack, cast(case, torch.float64))[0]
    gap = float((first.double() - exact).norm())
    honest = case.context.honest.double()
    away = honest - honest.mean(0)
    size = max(float((exact - honest.mean(0)).norm(dim=-1).max()), float(away.norm(dim=-1).max()))
    if gap > _NEAR * size:
        raise Broken(
            f"{attack.name}, {case}",
            f"float32 is off by {gap:.3g} from float64, where {size:.3g} from the honest mean are meant",
        )


UPDATE_PROPERTIES: dict[str, AttackProperty] = {
    "form": AttackProperty(
        form,
        "one row a malicious client, of the updates' type",
        "what is sent fits no model, or the attack works for some rounds of an experiment only",
        "answer (malicious, dim) like the updates given, from one malicious and one honest client on; end with "
        ".expand_as(updates) and .to(updates.dtype)",
    ),
    "finite": AttackProperty(
        finite,
        "no NaN, no infinity",
        "the bench leaves such clients out of the round, and the attack is measured as none",
        "mind divisions by a spread or a length of 0, and quantiles at 0 or 1: one honest client has no deviation",
    ),
    "rule": AttackProperty(
        rule,
        "asks for the rule only where it declares to",
        "attacks that know the rule and those that do not are compared as if alike",
        "ask context.aggregate about (trials, malicious, dim) candidates, and declare adaptive = True",
    ),
    "alive": AttackProperty(
        alive,
        "what is sent differs from the honest update",
        "the damage is measured of an attack that did not happen",
        "answer the changed updates, not the ones given",
    ),
    "untouched": AttackProperty(
        untouched,
        "inputs are left as they were",
        "honest clients send what the attack wrote, or its own earlier answers change",
        "work on a copy: updates.clone(), no in-place method (its name ends in _), no kept buffer",
    ),
    "randomness": AttackProperty(
        randomness,
        "no global random generator",
        "rules of a paired comparison meet different attacks",
        "pass generator=context.generator to every draw",
    ),
    "repeatable": AttackProperty(
        repeatable,
        "the same generator, the same answer",
        "a run cannot be repeated or resumed",
        "draw from context.generator alone, and keep nothing between rounds but the state that is passed",
    ),
    "memory": AttackProperty(
        memory,
        "state is passed, not kept",
        "one experiment's memory leaks into another's, or a run cannot be resumed",
        "a frozen dataclass: init(updates, context) gives the first state, __call__(updates, context, state) the "
        "updates and a new state; never change the one given",
        lambda attack: attack.remembers,
    ),
    "precision": AttackProperty(
        precision,
        "float32 is near float64",
        "what is sent depends on rounding",
        "take the difference from the mean before squaring it, and sums over dim in float64 (x.double())",
        lambda attack: not attack.declares("adaptive"),
    ),
    "settings": settings_property(lambda attack: (partial(ask, attack, case) for case in rounds(attack))),
}
