"""Everything the engine refuses or fails at, in one tree. The docstring of an error is its message."""


class EngineError(Exception):
    """The engine cannot go on."""

    code = "engine_error"

    def __init__(self, message: str | None = None, /, **facts: object) -> None:
        """Take the message, or the facts that the docstring names in braces."""
        super().__init__(message or " ".join((self.__doc__ or "").split()).format(**facts))


def first_line(error: Exception) -> str:
    """What a foreign error says, short enough for one sentence."""
    return str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__


OTHER_ARCHITECTURE = "choose a model of another architecture"
"""What to do where nothing about a model helps."""


class OutOfMemoryError(EngineError):
    """The device has no memory left for a single request: lower max_length, or use a smaller model or dtype."""

    code = "out_of_memory"


# Refused at load.


class ModelError(EngineError):
    """The model cannot be loaded."""

    code = "model_error"


class ModelNotFoundError(ModelError):
    """{path!r} is no directory here and could not be fetched from the Hub ({cause}): give a directory or a Hub id."""

    code = "model_not_found"


class ModelConfigError(ModelError):
    """{path!r} holds no readable config.json ({cause}): give the directory that save_pretrained wrote."""

    code = "model_config_unreadable"


class ModelWeightsError(ModelError):
    """The weights in {path!r} cannot be read ({cause}): copy or download them again."""

    code = "model_weights_unreadable"


class GenerationConfigError(ModelError):
    """The generation_config.json in {path!r} cannot be read ({cause}): write it again, or take it away."""

    code = "generation_config_unreadable"


class AdapterAsBaseError(ModelError):
    """{path!r} holds an adapter and no whole model: give the model it was trained on ({base}), and this as policy."""

    code = "adapter_as_base"


class UnsupportedModelError(ModelError):
    """{path!r} cannot be decoded exactly here: {cause}."""

    code = "model_unsupported"


class AdapterError(ModelError):
    """The adapter {path!r} cannot be stacked on {base!r}: {cause}."""

    code = "adapter_unsupported"


class VocabularyMismatchError(ModelError):
    """{path!r} and {base!r} do not share a vocabulary, nor tokenizers that texts can be carried between ({cause})."""

    code = "vocabulary_mismatch"


class DeviceError(ModelError):
    """Device {device!r} cannot be used ({cause}): choose "auto", "cpu", "cuda" or "cuda:0"."""

    code = "device_unavailable"


class TensorParallelError(ModelError):
    """tensor_parallel is {tensor_parallel}, less than 1: 1 is one device."""

    code = "tensor_parallel_out_of_range"


class DevicesError(ModelError):
    """tensor_parallel is {tensor_parallel}, and device is {device!r}: name so many different GPUs (cuda:0,cuda:1)."""

    code = "devices_unavailable"


class DtypeError(ModelError):
    """Unknown dtype {dtype!r}: choose "auto", "float32", "bfloat16" or "float16"."""

    code = "dtype_unknown"


class LengthError(ModelError):
    """max_length {max_length} is not between 2 and {limit}, the most tokens for which this model is decoded exactly."""

    code = "max_length_invalid"


class NoLengthError(ModelError):
    """{path!r} states no longest sequence: pass max_length."""

    code = "max_length_unknown"


class SlotsError(ModelError):
    """num_slots {num_slots} is less than 1."""

    code = "num_slots_invalid"


class CacheBytesError(ModelError):
    """cache_bytes is {cache_bytes:,}, and a request of {num_tokens} tokens takes {needed:,}: raise it, or leave it to
    the memory there is."""  # noqa: D205, D209 (one sentence, the message)

    code = "cache_bytes_too_small"


class PrefillBudgetError(ModelError):
    """prefill_budget {prefill_budget} is less than 1."""

    code = "prefill_budget_invalid"


# Refused when a request is added.


class RequestError(EngineError):
    """The request cannot be decoded."""

    code = "request_error"


class DuplicateRequestError(RequestError):
    """A request with the id {request_id!r} is waiting or being decoded."""

    code = "duplicate_request"


class NoStreamsError(RequestError):
    """A request needs at least one stream."""

    code = "no_streams"


class ForeignBaseStreamError(RequestError):
    """The first stream proposes tokens of the base's vocabulary, and {weights!r} has another: it can only guide."""

    code = "foreign_base_stream"


class UnknownWeightsError(RequestError):
    """No weights are named {weights!r}: this engine has {names}."""

    code = "unknown_weights"


class EmptyPromptError(RequestError):
    """The prompt of stream {stream} has no tokens."""

    code = "empty_prompt"


class PromptTooLongError(RequestError):
    """The prompt has {prompt_tokens} tokens with its template and principles; the model takes {max_length} for prompt
    and answer together: lower max_tokens from {max_tokens} to at most {room}, or shorten the prompt."""  # noqa: D205, D209 (one sentence, the message)

    code = "prompt_too_long"


class NoRoomForAnswerError(PromptTooLongError):
    """The prompt has {prompt_tokens} tokens with its template and principles; the model takes {max_length} for prompt
    and answer together, so no max_tokens is low enough: shorten the prompt by at least {excess}."""  # noqa: D205, D209 (as above)


class GuideTooShortError(RequestError):
    """The prompt has {prompt_tokens} tokens as {weights!r} writes it, with its template and principles; that takes
    {max_length} for prompt and answer together, {per_token} of them for each token of the answer: lower max_tokens from
    {max_tokens} to at most {room}, or shorten the prompt."""  # noqa: D205, D209 (as above)

    code = "guide_prompt_too_long"


class NoRoomInGuideError(GuideTooShortError):
    """The prompt has {prompt_tokens} tokens as {weights!r} writes it, with its template and principles; that takes
    {max_length} for prompt and answer together, so no max_tokens is low enough: shorten the prompt by at least
    {excess}."""  # noqa: D205, D209 (as above)


class GivenTextOutgrowsGuideError(RequestError):
    """The text has {num_tokens} tokens as {weights!r} writes it, prompt included; that takes {max_length}."""

    code = "text_outgrows_guide"


class CacheTooSmallError(RequestError):
    """The request needs {needed:,} bytes of key-value cache for {num_rows} streams of up to {num_tokens} tokens, of
    which there are {budget:,}: lower max_tokens, shorten the prompt, or take fewer principles."""  # noqa: D205, D209 (as above)

    code = "cache_too_small"


class TokenOutOfRangeError(RequestError):
    """{where} holds token id {token_id}, outside 0 to {largest}."""

    code = "token_out_of_range"


class EmptyTextError(RequestError):
    """A text to score needs at least one prompt token and one completion token."""

    code = "empty_text"


class TextTooLongError(RequestError):
    """The text has {num_tokens} tokens, prompt and completion together, which exceeds {max_length}."""

    code = "text_too_long"


class NumCandidatesError(RequestError):
    """k is {k}, outside 1 to {vocab_size}."""

    code = "k_out_of_range"


class TooManyJudgedError(RequestError):
    """k is {k}, and {weights!r}, whose tokenizer is not the base's, judges at most {most} candidates: lower k."""

    code = "k_out_of_range"


class CandidatesNeededError(RequestError):
    """k is None, the whole vocabulary, where streams guide: give the number of candidates that they judge, as 10."""

    code = "k_required"


class MaxTokensError(RequestError):
    """max_tokens is {max_tokens}, less than 1."""

    code = "max_tokens_out_of_range"


class TemperatureError(RequestError):
    """temperature is {temperature}, not a finite number of at least 0."""

    code = "temperature_out_of_range"


class TopPError(RequestError):
    """top_p is {top_p}, not above 0 and at most 1."""

    code = "top_p_out_of_range"


class MinPError(RequestError):
    """min_p is {min_p}, not at least 0 and below 1."""

    code = "min_p_out_of_range"


class MinTokensError(RequestError):
    """min_tokens is {min_tokens}, outside 0 to max_tokens, which is {max_tokens}."""

    code = "min_tokens_out_of_range"


class RepetitionPenaltyError(RequestError):
    """repetition_penalty is {repetition_penalty}, not a finite number above 0: 1 changes nothing, 1.1 is usual."""

    code = "repetition_penalty_out_of_range"


class FrequencyPenaltyError(RequestError):
    """frequency_penalty is {frequency_penalty}, outside -2 to 2."""

    code = "frequency_penalty_out_of_range"


class PresencePenaltyError(RequestError):
    """presence_penalty is {presence_penalty}, outside -2 to 2."""

    code = "presence_penalty_out_of_range"


class BiasedTokenError(RequestError):
    """logit_bias names token id {token_id}, outside 0 to {largest}."""

    code = "logit_bias_out_of_range"


class BiasValueError(RequestError):
    """logit_bias of token id {token_id} is {value}, outside -100 to 100."""

    code = "logit_bias_out_of_range"


class BiasTwiceError(RequestError):
    """logit_bias names token id {token_id} more than once."""

    code = "logit_bias_repeated"


class BudgetError(RequestError):
    """max_kl is {max_kl}, not a number of at least 0: 0 is unguided, None sets no bound."""

    code = "max_kl_out_of_range"


class StrengthError(RequestError):
    """strength is {strength}, not a finite number."""

    code = "strength_not_finite"


class RewardError(RequestError):
    """The reward coefficient of stream {stream} is {reward}, not a finite number."""

    code = "reward_not_finite"
