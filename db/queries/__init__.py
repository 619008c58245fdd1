"""Every query of the project, one file per resource. Each function takes the session of its caller's transaction."""
