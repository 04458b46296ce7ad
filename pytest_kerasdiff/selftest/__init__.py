"""The self-test: the catalogue's faults seeded into the user's own torch model, to prove that green means something."""
