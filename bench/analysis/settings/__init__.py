"""Training settings of a grid: the choice among candidates, the two forms of a tuned grid, and what depends on them.

`choice` scores the trials and chooses, `forms` tells fixed from tuned cells, `sensitivity` says which claims hold in
every setting.
"""
