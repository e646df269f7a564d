"""The files that ``flipbench new`` copies: a working rule and three working attacks, each with its test beside it.

They are code like any other, linted, type-checked and run by the tests. `cli.new` puts the user's name in place of the
file's own (``my_rule``, ``my_label_attack``, ``my_update_attack``, ``my_example_attack``).
"""
