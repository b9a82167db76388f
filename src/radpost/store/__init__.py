"""Tables, named statements, migrations, and the spool of content-addressed files (DESIGN 5)."""
