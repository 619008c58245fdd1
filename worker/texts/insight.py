"""What guided each token of a text, as it is stored and shown: the engine's numbers, with the texts of the tokens.

Decides what is shown; asks no model.
"""

from collections.abc import Callable, Collection, Sequence

from domain.json_values import JsonObject
from domain.preferences import EffectivePreference, Method
from worker.engine import CandidateReward, Request, TokenReward, TokenRewards
from worker.texts.methods import Guide
from worker.texts.stops import CUT_CHARACTER

DIGITS = 6
"""Decimals of what is stored: a millionth of a nat."""
NUL = "\0"
CONTEXT = 4
"""Tokens before one that may change how it is spelt; a character has no more."""

Spell = Callable[[Sequence[int]], str]
"""The text of tokens, control tokens included."""


def insight(
    found: TokenRewards,
    request: Request,
    preference: EffectivePreference,
    guide: Guide,
    spell: Spell,
    *,
    end_token_ids: Collection[int] = (),
) -> JsonObject:
    """The JSON object that is stored: the tokens in order, and for `mixture` how each principle speaks for the text.

    A last token that is one of `end_token_ids` ended the text, and adds nothing to it.
    """
    token_ids = [token.token_id for token in found.tokens]
    texts = pieces(token_ids, spell)
    is_ended = bool(token_ids) and token_ids[-1] in end_token_ids
    if is_ended:
        texts[-1] = ""
    return {
        "strength": request.strength,
        "max_kl": request.max_kl,
        "principles": _log_ratios(found.log_likelihoods, preference, guide),
        "tokens": [
            _token(token, text, token_ids[max(0, place - CONTEXT) : place], spell)
            | {"is_end": is_ended and place == len(token_ids) - 1}
            for place, (token, text) in enumerate(zip(found.tokens, texts, strict=True))
        ],
    }


def pieces(token_ids: Sequence[int], spell: Spell) -> list[str]:
    """What each token adds to the text; of a character that several tokens spell, the last one adds it."""
    texts, said = [], ""
    for end in range(1, len(token_ids) + 1):
        text = spell(token_ids[:end])
        whole = text.rstrip(CUT_CHARACTER) if end < len(token_ids) else text
        texts.append(whole[len(said) :] if whole.startswith(said) else "")
        said = whole if whole.startswith(said) else said
    return [text.replace(NUL, CUT_CHARACTER) for text in texts]


def _token(token: TokenReward, text: str, before: Sequence[int], spell: Spell) -> JsonObject:
    return {
        "token_id": token.token_id,
        "text": text,
        "log_probability": round(token.log_probability, DIGITS),
        "reward": round(token.reward, DIGITS),
        "strength": round(token.strength, DIGITS),
        "kl": round(token.kl, DIGITS),
        "is_changed": token.is_changed,
        "candidates": [_candidate(candidate, before, spell) for candidate in token.candidates],
    }


def _candidate(candidate: CandidateReward, before: Sequence[int], spell: Spell) -> JsonObject:
    context, text = spell(before) if before else "", spell([*before, candidate.token_id])
    added = text[len(context) :] if text.startswith(context) else spell([candidate.token_id])
    return {
        "token_id": candidate.token_id,
        "text": added.replace(NUL, CUT_CHARACTER),
        "base_log_probability": round(candidate.base_log_probability, DIGITS),
        "reward": round(candidate.reward, DIGITS),
        "guided_log_probability": round(candidate.guided_log_probability, DIGITS),
    }


def _log_ratios(log_likelihoods: Sequence[float], preference: EffectivePreference, guide: Guide) -> list[JsonObject]:
    """`sum_t log pi_guide(principle k) - log pi_reference`, as weights are learnt from; of `mixture` alone."""
    principles = preference.principles
    reference = 0 if guide.reference == "base" else 1 + len(principles)
    if preference.method is not Method.MIXTURE or len(log_likelihoods) <= max(reference, len(principles)):
        return []  # nothing guides, or two principles are the same to the model
    return [
        {"text": principle.text, "log_ratio": round(log_likelihoods[index] - log_likelihoods[reference], DIGITS)}
        for index, principle in enumerate(principles, start=1)
    ]
