"""One prompt for many users: placeholders, audiences, previews."""
