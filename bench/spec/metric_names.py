"""The sheet of metrics: name, label, direction. Grid files, tables, figures and the report page read it.

A metric is a line here and a function of the same name in `flipbench.analysis.metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricName:
    """A number of the confusion matrix, as users name and read it.

    Attributes:
        name: as in columns and grid files.
        label: for axes and headings.
        higher_is_better: for the federation; False where high is the attacker's gain.
        needs_mapping: NaN for attacks without a fixed map of classes (of a backdoor the attack success rate is known
            all the same: `flipbench.analysis.metrics.backdoor_success_rate`).
    """

    name: str
    label: str
    higher_is_better: bool = True
    needs_mapping: bool = False


_NO_WEIGHTS = "no round under attack has malicious clients whose weights are known"
_LAST = "after the last round"
_NO_TWIN = "the grid has no honest_noise, or the twin with label noise is not finished"
_ALIKE = "clients are dealt alike, or the record is from before their classes were stored"


@dataclass(frozen=True)
class CellMetricName:
    """A share of a cell that is not of its confusion matrix alone: no damage, and no mean of last rounds.

    Attributes:
        name: the column of the tidy frame, and its name in grid files.
        label: for axes and headings.
        higher_is_better: for the federation.
        clean: whether a cell without an attack has one.
        why: a finished cell has none.
        when: which rounds it is of.
    """

    name: str
    label: str
    higher_is_better: bool = True
    clean: bool = False
    why: str = _NO_WEIGHTS
    when: str = "over the evaluated rounds under attack"


SHEET = (
    MetricName("accuracy", "accuracy"),
    MetricName("balanced_accuracy", "balanced accuracy"),
    MetricName("macro_f1", "macro F1"),
    MetricName("worst_recall", "worst-class recall"),
    MetricName("source_recall", "source recall", needs_mapping=True),
    MetricName("attack_success_rate", "attack success rate", higher_is_better=False, needs_mapping=True),
    MetricName("target_precision", "target precision", needs_mapping=True),
    MetricName("collateral", "collateral accuracy", needs_mapping=True),
)
OF_DETECTION = (
    CellMetricName("detection_precision", "detection precision", why="the rule dropped no client"),
    CellMetricName("detection_recall", "detection recall"),
    CellMetricName("detection_f1", "detection F1"),
    CellMetricName("detection_fpr", "detection false positive rate", higher_is_better=False, clean=True),
    CellMetricName("detection_auc", "detection AUC"),
    CellMetricName("never_caught", "malicious clients never caught", higher_is_better=False),
)
_NOISE = "over the evaluated rounds with label noise"
OF_NOISE = (
    CellMetricName("noisy_dropped", "noisy honest clients dropped", higher_is_better=False, why=_NO_TWIN, when=_NOISE),
    CellMetricName(
        "noisy_others_dropped", "other honest clients dropped", higher_is_better=False, why=_NO_TWIN, when=_NOISE
    ),
)
OF_CLIENTS = (
    CellMetricName("client_accuracy_mean", "client accuracy, mean", clean=True, why=_ALIKE, when=_LAST),
    CellMetricName("client_accuracy_worst", "client accuracy, worst client", clean=True, why=_ALIKE, when=_LAST),
    CellMetricName("client_accuracy_p10", "client accuracy, 10th percentile", clean=True, why=_ALIKE, when=_LAST),
)
CELL_SHEET = (*OF_DETECTION, *OF_NOISE, *OF_CLIENTS)
PERCENT, POINTS = "%", "percentage points"  # units: of a share, of a difference of two shares
DAMAGE = "_damage"  # after a metric's name: clean twin minus attacked (the reverse where low is good)
DRAWABLE = (
    *(m.name for m in SHEET),
    *(f"{m.name}{DAMAGE}" for m in SHEET),
    *(m.name for m in CELL_SHEET),
)  # what a figure of a grid file may show
HEADLINES = ("accuracy", f"accuracy{DAMAGE}", "source_recall", "attack_success_rate")  # in every table, CSV and heatmap


def of_settings(name: str) -> str:
    """Where a number stands that settings have and results do not, for messages; empty for any other name."""
    if name not in ("epsilon", "delta"):
        return ""
    return (
        "; ε and δ are of the settings, the same for every rule: draw accuracy over noise_multiplier, whose values "
        "have their ε behind them (docs/privacy.md)"
    )
