"""The rules on GPUs, by Triton."""
