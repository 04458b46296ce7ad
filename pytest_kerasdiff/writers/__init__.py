"""Forms of a report that people read, each made of the report alone."""
