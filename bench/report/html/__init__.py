"""flipbench: html."""
