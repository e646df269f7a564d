"""Readers of data files in the form in which they are published or kept: images, tables and texts.

Each is a function with keyword-only options that returns a `Dataset`; it is named in the table of `flipbench.data`.
Nothing in a file is run: no pickle is loaded but by `files.restricted_pickle`, which makes arrays and nothing else.

Read by authors of readers. To extend: a module here that finds its files by `files.places`, reads them once by
`files.whole_data`, and refuses others by `files.file_kinds`; a fixture in the published format in
tests/helpers/published_files.py.
"""
