"""flipbench: plugins."""
