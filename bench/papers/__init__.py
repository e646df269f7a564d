"""flipbench: papers."""
