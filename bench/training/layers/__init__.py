"""flipbench: layers."""
