"""Reports as documents that a person reads."""
