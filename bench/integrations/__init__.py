"""flipbench: integrations."""
