"""Objects on disk and on the network: identity without decoding pixels, meta header, SCP and SCU."""
