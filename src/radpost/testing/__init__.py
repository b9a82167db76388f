"""Public fakes and harness for tests, demonstrations and benchmarks; nothing here runs in a real gateway."""
