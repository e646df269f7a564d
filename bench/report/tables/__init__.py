"""flipbench: tables."""
