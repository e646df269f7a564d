"""One command of the command line a module: parse, call, print.

Heavy imports stand inside the functions, so that ``flipbench --help`` loads neither torch nor pandas.
"""
