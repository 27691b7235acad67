"""What of the documentation is made from the source: `python -m pages` writes it, tests/test_pages.py compares.

A page is made whole (`docs/commands.md`), or holds blocks that are made, between `<!-- made: NAME -->` and
`<!-- end -->`; what stands between blocks is written by hand and left alone.
"""
