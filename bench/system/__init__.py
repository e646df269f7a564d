"""flipbench: system."""
