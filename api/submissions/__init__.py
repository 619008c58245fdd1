"""From a request's body to stored items: read, judged against profiles and model, stored in one transaction."""
