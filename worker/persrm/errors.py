"""Why a training does not start. The docstring of an error is its message."""


class TrainingError(ValueError):
    """The training cannot start."""

    def __init__(self, message: str | None = None, /, **facts: object) -> None:
        """Take the message, or the facts that the docstring names in braces."""
        super().__init__(message or (self.__doc__ or "").format(**facts))


class BaseModelError(TrainingError):
    """The base model {base!r} cannot be read ({cause}): give the folder that save_pretrained wrote, or a Hub id."""


class PromptMismatchError(TrainingError):
    """The chat template renders this prompt differently in training and in decoding: {prompt!r}."""


class TooFewPairsError(TrainingError):
    """{num_pairs} pairs are too few: at least 2 are needed, one to train on and one to hold out."""


class PairsTooLongError(TrainingError):
    """Pairs are longer than the {max_length} tokens of --max-length: {pairs}."""


class SettingError(TrainingError):
    """{name} is {value}, not {wanted}."""


class OccupiedFolderError(TrainingError):
    """{folder} is not empty, and a training would write over what is there: choose another --out, or say --replace."""


class OtherRunError(TrainingError):
    """{folder} holds an unfinished training with other inputs or settings: delete it, or choose another --out."""
