"""The running service: wires the rooms together, supervises its tasks, applies the rules."""
