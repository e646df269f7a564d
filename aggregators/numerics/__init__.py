"""flipbench: numerics."""
