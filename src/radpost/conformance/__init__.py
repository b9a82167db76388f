"""What Radpost keeps of which standard, clause by clause: one table, and the statement made of it."""
