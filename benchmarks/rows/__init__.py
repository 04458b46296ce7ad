"""What is measured: one function for each row of the table, and their registry."""
