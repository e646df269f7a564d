"""flipbench: report."""
