"""flipbench: labels."""
