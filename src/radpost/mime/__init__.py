"""Grammar of e-mail without I/O: reading, writing, fragments, OpenPGP envelopes, receipts and bounces."""
