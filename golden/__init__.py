"""The specification: integer NumPy models of every block, the instruction set and the registers."""
