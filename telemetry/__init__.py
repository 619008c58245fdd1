"""What the processes say of themselves: what they log, count and trace, and whether they are ready."""
