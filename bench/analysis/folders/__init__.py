"""Two results folders: which of their cells are the same experiment, and what differs between them."""
