"""flipbench: cli."""
