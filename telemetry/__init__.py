"""What the processes say of themselves: what they count, what they trace, and whether they are ready."""
