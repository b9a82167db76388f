"""The connect-a-thon in a command: which rules a mail keeps, bends or breaks, and how its sender mends it.

A table of rules (`table.RULES`) is put to a mail by pure functions over its bytes and its MIME tree. `scene`
makes the tree and opens what is sealed in it; `objects` and `outline` look at DICOM parts and at OpenPGP
packets. Rules stand in modules by standard, one for each heading of docs/reference/check-rules.md.
"""
