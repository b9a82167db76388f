"""What Radpost does with mail files, without gateway and database: open, pack and check them."""
