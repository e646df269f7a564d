"""flipbench: examples."""
