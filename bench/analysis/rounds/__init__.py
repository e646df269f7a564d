"""What the evaluated rounds of a cell say together: its headline, and whether it is steady at the end of training."""
