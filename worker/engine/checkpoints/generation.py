"""What a checkpoint's own generation settings ask for: what can be served, and what cannot and is named at load."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any  # a configuration holds whatever its JSON held

from transformers import GenerationConfig

# Settings that change texts and are not served, each with the values under which it changes nothing.
_UNSUPPORTED: Mapping[str, tuple[object, ...]] = {
    "bad_words_ids": (),
    "begin_suppress_tokens": (),
    "constraints": (),
    "diversity_penalty": (0.0,),
    "dola_layers": (),
    "encoder_no_repeat_ngram_size": (0,),
    "encoder_repetition_penalty": (1.0,),
    "exponential_decay_length_penalty": (),
    "force_words_ids": (),
    "forced_bos_token_id": (),
    "forced_eos_token_id": (),
    "guidance_scale": (1.0,),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "no_repeat_ngram_size": (0,),
    "num_beam_groups": (1,),
    "num_beams": (1,),
    "penalty_alpha": (0.0,),
    "sequence_bias": (),
    "stop_strings": (),
    "suppress_tokens": (),
    "token_healing": (False,),
    "watermarking_config": (),
}
_UNSUPPORTED_IN_SAMPLING: Mapping[str, tuple[object, ...]] = {
    "epsilon_cutoff": (0.0,),
    "eta_cutoff": (0.0,),
    "top_h": (),
    "typical_p": (1.0,),
}


@dataclass(frozen=True, slots=True)
class GenerationDefaults:
    """The sampling that a checkpoint asks for where a request states nothing; None where it states nothing either.

    transformers heeds the settings of sampling only where `do_sample` is true, and so they are None otherwise. The
    repetition penalty holds in any case: the model's own greedy `generate` applies it, too.
    """

    do_sample: bool = False
    temperature: float | None = None
    top_k: int | None = None
    """None is the whole vocabulary, as 0 is in a generation configuration."""
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    unsupported: tuple[str, ...] = ()
    """Settings that change texts and are not served, as "name=value"."""

    @classmethod
    def of(cls, config: GenerationConfig | None) -> "GenerationDefaults":
        """What the model's `generate` would do, as far as its configuration says."""
        if config is None:  # a model that transformers does not generate with
            return cls()
        do_sample = bool(config.do_sample)
        sampling: dict[str, Any] = {}
        if do_sample:
            sampling = {name: getattr(config, name, None) for name in ("temperature", "top_k", "top_p", "min_p")}
            sampling["top_k"] = sampling["top_k"] or None
        penalty = config.repetition_penalty
        return cls(
            do_sample=do_sample,
            repetition_penalty=1.0 if penalty is None else float(penalty),
            unsupported=_unsupported(config, do_sample=do_sample),
            **sampling,
        )


def _unsupported(config: GenerationConfig, *, do_sample: bool) -> tuple[str, ...]:
    table = {**_UNSUPPORTED, **(_UNSUPPORTED_IN_SAMPLING if do_sample else {})}
    stated = {name: getattr(config, name, None) for name in sorted(table)}
    return tuple(
        f"{name}={value!r}"
        for name, value in stated.items()
        if value is not None and value not in table[name] and value not in ([], {}, "")
    )
