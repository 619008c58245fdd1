"""The principles that the PersRM is trained on: how users word them, and which judge makes their pairs.

Those of the evaluation that it calls unseen are not among them, nor in other words.
"""

from dataclasses import dataclass

from examples.real import judges
from examples.real.judges import Judge, ends_with, pattern, share, total


@dataclass(frozen=True)
class JudgedPrinciple:
    """Something a reader may ask for."""

    name: str
    wordings: tuple[str, ...]
    judge: Judge
    margin: float
    """By how much a chosen text must be judged better than the rejected one."""
    about_length: bool = False
    """Whether the length of a text may be what decides."""


_POSITIVE = total((1, judges.positive), (-1, judges.negative))
_FORMAL = total((1, judges.ceremony), (-1, judges.slang), (-2, judges.contractions), (-2, judges.exclamations))
_PLAIN = total((-3, judges.mean_word_length), (-0.15, judges.long_words), (-0.25, judges.mean_sentence_length))
_LEARNED = total((3, judges.mean_word_length), (0.3, judges.long_words))


def _principle(name: str, wordings: str, judge: Judge, margin: float, *, about_length: bool = False) -> JudgedPrinciple:
    return JudgedPrinciple(name, tuple(wordings.split(" | ")), judge, margin, about_length)


PRINCIPLES: tuple[JudgedPrinciple, ...] = (
    _principle("positive", "positive and upbeat | cheerful | look on the bright side | optimistic", _POSITIVE, 4),
    _principle(
        "negative",
        "negative and critical | gloomy | pessimistic | say what is bad about it",
        total((1, judges.negative), (-1, judges.positive)),
        3,
    ),
    _principle("formal", "formal | very formal and polite | a formal tone | like an official letter", _FORMAL, 3),
    _principle(
        "casual",
        "casual | informal, like talking to a friend | relaxed everyday language | chatty",
        total((1, judges.slang), (1, judges.contractions), (0.5, judges.exclamations), (-0.5, judges.ceremony)),
        2,
    ),
    _principle(
        "simple",
        "use simple words | plain language | short words and short sentences | easy to read",
        _PLAIN,
        2,
    ),
    _principle(
        "sophisticated",
        "use sophisticated vocabulary | elaborate, learned language | write like a scholar | use long, rare words",
        _LEARNED,
        3,
    ),
    _principle(
        "short",
        "very short | keep it brief | concise | as few words as possible",
        lambda text: -judges.num_words(text),
        15,
        about_length=True,
    ),
    _principle(
        "long sentences",
        "write long sentences | long, flowing sentences",
        judges.mean_sentence_length,
        6,
    ),
    _principle(
        "question",
        "end with a question | close by asking the reader something",
        ends_with("?"),
        0.5,
        about_length=True,
    ),
    _principle("questions", "ask the reader questions | use rhetorical questions", pattern(r"\?"), 1),
    _principle("exclaiming", "use exclamation marks | excited | full of excitement", judges.exclamations, 2),
    _principle(
        "you",
        "speak to the reader directly | address the reader as you",
        share("you your yours you're you'll yourself"),
        4,
    ),
    _principle(
        "we",
        "speak as we, the team | write in the first person plural",
        share("we our us we're we'll ours"),
        3,
    ),
    _principle(
        "I",
        "write in the first person | write from your own experience",
        share("i my me i'm i've mine myself"),
        3,
    ),
    _principle("list", "write a list | use bullet points | numbered steps", pattern(r"^\s*(?:[-*\u2022]|\d+[.)]) "), 2),
    _principle(
        "no list", "no lists, only prose | flowing text without bullet points", pattern(r"^(?!\s*[-*\d]).{80,}$"), 1
    ),
    _principle("numbers", "use numbers and facts | give figures", pattern(r"\d+", most=6), 2),
    _principle(
        "pirate",
        "write like a pirate | pirate speak",
        share("arr* ahoy matey mateys ye yer aye captain ship sea seas treasure crew sail* me hearties plunder* lad"),
        3,
    ),
    _principle(
        "old-fashioned",
        "in the style of Shakespeare | old-fashioned English",
        share(
            "thou thee thy thine hath doth art shall 'tis tis ere upon o oh lo dost wherefore behold forth noble fair"
        ),
        2,
    ),
    _principle(
        "nature",
        "use images from nature | poetic | lyrical",
        share(
            "sun* moon star* sky sea wind* river* flower* bloom* leaf leaves tree* light shadow* "
            "whisper* dance* soft* gentle dream* heart* soul golden silver dawn night like"
        ),
        3,
    ),
    _principle(
        "story",
        "tell it as a story | begin like a fairy tale",
        share("once upon was were had there lived village little one day then went said came told found named who"),
        6,
    ),
    _principle(
        "careful",
        "cautious and hedged | careful not to promise anything",
        share(
            "may might could perhaps possibly maybe sometimes often usually likely seem* appear* "
            "generally some potential* however although depend*"
        ),
        2,
    ),
    _principle(
        "certain",
        "confident and assertive | sound absolutely sure",
        share(
            "will must always never definitely certain* sure surely clear* absolute* guarantee* "
            "every* best only proven without undoubted*"
        ),
        2,
    ),
    _principle(
        "urgent",
        "urgent | make the reader act now",
        share(
            "now today hurry quick* immediate* urgent* soon fast deadline limited act last miss "
            "tonight already before late"
        ),
        2,
    ),
    _principle(
        "children",
        "for small children | explain it to a child",
        total(
            (-2, judges.mean_word_length),
            (
                1,
                share("little fun play* friend* like imagine magic* big small happy let's know wow kid* child* toy*"),
            ),
        ),
        2,
    ),
    _principle(
        "technical",
        "technical and precise | for experts",
        share(
            "system* process* data method* technolog* specific* material* structure* design* measure* "
            "rate temperature efficien* energy component* technical performance standard* analysis "
            "model* equipment mechanism*"
        ),
        2,
    ),
    _principle(
        "grateful",
        "thank the reader | express gratitude",
        share("thank* grateful appreciat* gratitude"),
        1,
    ),
    _principle(
        "money",
        "mention what it costs and saves | talk about money",
        share("cost* price* save* saving* money cheap* afford* pay* budget* free discount* dollar* spend* value bill*"),
        2,
    ),
)
