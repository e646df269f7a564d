"""flipbench: federation."""
