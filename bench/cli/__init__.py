"""The command line: parses arguments, calls one function, prints. One command a module; no package imports this one.

Read by whoever changes a command. To extend: a command is a module of `commands` that `app` registers; the modules
beside `app` make what the commands print.
"""
