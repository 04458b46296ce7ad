"""A static scan of a Keras file before a framework opens it.

Refused is what would run code, read or write other files, or fill the memory. It is a filter and no sandbox: what it
does not know passes. SECURITY.md says what is promised.
"""
