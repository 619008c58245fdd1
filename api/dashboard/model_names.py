"""The models that a form offers, by name."""

from api.http.dependencies import Services
from db.queries.models import list_models


def model_names(services: Services) -> list[str]:
    """The name of every known model once: those that are served first, so that a form begins with one of them."""
    with services.database.reading() as session:
        known = sorted(list_models(session), key=lambda model: (not model.is_ready, model.name))
    return list(dict.fromkeys(model.name for model in known))
