"""flipbench: updates."""
