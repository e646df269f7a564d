"""Published tables beside ours: reads a paper's YAML file, runs its cells and judges every number and claim.

Read by whoever reproduces a paper. To extend: a paper is one YAML file in this folder, and needs no code.
"""
