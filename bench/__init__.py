"""flipbench: the benchmark; see README.md. The street runs from the grid file to the heatmap."""
