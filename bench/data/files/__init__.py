"""What all readers share: where files lie, what they are, and what was made of them before.

Read by authors of readers. To extend: a helper that at least two readers use.
"""
