"""flipbench: execution."""
