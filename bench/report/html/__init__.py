"""The report page: one file that opens offline, with its data, style and script inside.

Read by whoever changes the page. The script and the style are the files of `bench/page/`.
"""
