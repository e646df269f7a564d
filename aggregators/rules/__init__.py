"""flipbench: rules."""
