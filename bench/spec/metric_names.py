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
PERCENT, POINTS = "%", "percentage points"  # units: of a share, of a difference of two shares
DAMAGE = "_damage"  # after a metric's name: clean twin minus attacked (the reverse where low is good)
DRAWABLE = (*(m.name for m in SHEET), *(f"{m.name}{DAMAGE}" for m in SHEET))  # what a figure of a grid file may show
HEADLINES = ("accuracy", f"accuracy{DAMAGE}", "source_recall", "attack_success_rate")  # in every table, CSV and heatmap


def of_settings(name: str) -> str:
    """Where a number stands that settings have and results do not, for messages; empty for any other name."""
    if name not in ("epsilon", "delta"):
        return ""
    return (
        "; ε and δ are of the settings, the same for every rule: draw accuracy over noise_multiplier, whose values "
        "have their ε behind them (docs/privacy.md)"
    )
