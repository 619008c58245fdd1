"""The evaluation of the demo's models: its suite, and the models that judge, compete with or borrow the PersRM."""
