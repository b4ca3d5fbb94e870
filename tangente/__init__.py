"""Neural networks that learn inside an FPGA."""
