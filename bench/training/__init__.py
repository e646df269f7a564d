"""flipbench: training."""
