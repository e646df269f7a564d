"""Names of what can be drawn: both the grid reader and the metrics need them, and neither may import the other."""

METRIC_NAMES = (
    "accuracy",
    "balanced_accuracy",
    "macro_f1",
    "worst_recall",
    "source_recall",
    "attack_success_rate",
    "target_precision",
    "collateral",
)
MEASURES = (*METRIC_NAMES, *(f"{name}_damage" for name in METRIC_NAMES))
