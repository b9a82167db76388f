"""One module per target; each has a ``TARGET``. They are imported by name, instrumented."""
