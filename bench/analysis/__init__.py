"""flipbench: analysis."""
