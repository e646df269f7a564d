"""flipbench: spec."""
