"""Evaluation on models that nobody here trained, by judges that nobody here wrote (`make eval-real`)."""
