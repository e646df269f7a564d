"""flipbench: figures."""
