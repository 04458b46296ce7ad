"""What the product is measured against, and what is run to measure it: small scripts, each a process of its own."""
