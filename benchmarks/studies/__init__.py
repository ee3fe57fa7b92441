"""Studies whose figures other pages quote."""
