"""What people import or type: the Python client, the command line and the local stack."""
