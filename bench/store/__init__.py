"""flipbench: store."""
