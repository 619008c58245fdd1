"""The sentences of the demo grammar: data only. `{t}` is the topic; most other slots are drawn from `SLOTS`.

No sentence starts with the topic or needs its number, so that any noun fits. Which table a sentence stands in decides
which principle it may keep; `tests/demo` holds the tables to the rules.
"""

from typing import Final

SLOTS: Final[dict[str, tuple[str, ...]]] = {
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "time": (
        "nine in the morning",
        "half past ten",
        "noon",
        "two in the afternoon",
        "half past three",
        "six in the evening",
        "eight in the evening",
    ),
    "place": (
        "in the main hall",
        "in room four",
        "at the town library",
        "in the garden house",
        "at the front desk",
        "in the online studio",
    ),
    "feature": (
        "a faster search",
        "a clearer overview",
        "a shared calendar",
        "a weekly summary",
        "a simpler menu",
        "longer opening hours",
        "a lower monthly price",
        "a quiet mode",
        "a printed guide",
        "free delivery",
        "a larger choice of colours",
        "better safety checks",
    ),
    "span": ("ten minutes", "a quarter of an hour", "half an hour", "one evening", "a few minutes"),
    "often": ("every day", "once a week", "every morning", "twice a month", "every weekend"),
}


# Follows the core of an ordinary message and keeps no principle.
BODIES: Final[dict[str, tuple[str, ...]]] = {
    "update": (
        "Nothing changes in the way you use it today.",
        "The change is already active in every account.",
        "It costs nothing extra and needs no new settings.",
        "We tested it for a month with a small group.",
        "You will see it the next time you log in.",
        "Most people will notice the difference within a day.",
    ),
    "reminder": (
        "Plan a little time for the way there.",
        "The doors open a quarter of an hour earlier.",
        "It will take about an hour in total.",
        "Bring your card and something to write with.",
        "If you cannot come, the next date follows in two weeks.",
        "A copy of the plan is in your inbox.",
    ),
    "tip": (
        "Small steps work better than one long effort.",
        "After a month it will feel like an ordinary habit.",
        "Others have told us that this works well for them.",
        "A simple timer on the kitchen table is enough.",
        "The first week is the hardest, then it gets lighter.",
        "Write the result down and compare it later.",
    ),
}
# Three sentences in this order, drawn one from each row, make a message detailed.
DETAILS: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    "update": (
        (
            "First, the new part appears at the top of the page, next to your name.",
            "In detail, the work took six weeks and covered forty requests from our customers.",
            "To be exact, the change reaches one half of all accounts on {day} and the rest a day later.",
            "The first thing to know is that your old settings stay exactly as they are.",
        ),
        (
            "Then you can switch it on under settings, where a short text describes each choice.",
            "After that, a list shows what has changed, with the date and the reason for each change.",
            "Next, your saved data moves over by itself, which takes about {span}.",
            "In addition, it works on phones, tablets and computers, with or without a connection.",
        ),
        (
            "Finally, the full notes are on the help page, in the section about the {t}.",
            "At the end of the month we will look at your comments and adjust the rest.",
            "Lastly, the old version stays available until the end of the year.",
            "In the end, you can always go back to the earlier version with one switch.",
        ),
    ),
    "reminder": (
        (
            "First, the doors open fifteen minutes early, and the entrance is next to the car park.",
            "In detail, the plan has three parts of twenty minutes, with a short break after each.",
            "To be exact, we meet at the entrance, walk in together and begin with a short round.",
            "The first thing to know is that parking is free and the bus stops close by.",
        ),
        (
            "Then we go through the list from last time, which is about {span} of work.",
            "After that, there is room for your own points, so bring your notes and your card.",
            "Next, you receive the printed papers, which you may keep or leave with us.",
            "In addition, a quiet room, water and fruit are there for everybody.",
        ),
        (
            "Finally, we agree on the next date for the {t} and write it on the board.",
            "At the end you get a short summary by mail, with all dates and addresses.",
            "Lastly, if you cannot come, the same programme is repeated on {day}.",
            "In the end, everything about the {t} can be read again on the help page.",
        ),
    ),
    "tip": (
        (
            "First, write down what you want to reach and how much time you really have.",
            "In detail, divide the work into three parts and begin with the smallest one.",
            "To be exact, two short rounds in a week bring more than one long round.",
            "The first thing to do is to look at last month and see what took longest.",
        ),
        (
            "Then choose a fixed day, for example {day}, and keep that time free of other plans.",
            "After that, prepare the tools on the evening before, so that nothing is missing.",
            "Next, set a timer for {span}, and stop when it rings, even if you are not done.",
            "In addition, keep a list with two columns, one for what works and one for what does not.",
        ),
        (
            "Finally, look at the list at the end of the month and change one thing only.",
            "At the end, compare your notes about the {t} with those from the month before.",
            "Lastly, share what you found with a friend, who may see what you have missed.",
            "In the end, it is the rhythm that counts, and the {t} will follow.",
        ),
    ),
}

# Sentences that keep one principle, by place in the message. "short" ones serve concise messages.
OPENERS: Final[dict[str, tuple[str, ...]]] = {
    "plain": (
        "Here is something about the {t}.",
        "A few words about the {t}.",
        "This message is about the {t}.",
        "Some lines on the {t}.",
    ),
    "playful": (
        "Psst, come a little closer!",
        "Ta-da, look what we have here!",
        "Woohoo, it's that time again!",
        "Yay, the {t} is calling!",
        "Hooray, it's all about the {t}!",
        "Drumroll for the {t}, please!",
        "Whoop whoop, here comes the {t}!",
        "Confetti for everyone!",
    ),
    "warm": (
        "Thank you for being part of the {t}.",
        "We are so glad that you are with us.",
        "It means a lot to us that you are here.",
        "With all our heart, we wish you a good week.",
        "We are grateful for every day with you.",
        "We think of you and are here for you.",
    ),
    "urgent": (
        "Time is running out for the {t}.",
        "This is the last chance to read about the {t}.",
        "Only a few hours left.",
        "Please look at this right away.",
        "It is time to hurry.",
        "Do not wait with this one.",
    ),
    "question": (
        "Have you thought about the {t} this week?",
        "Did you know this about the {t}?",
        "How is it going with the {t}?",
        "Are you ready for the {t}?",
        "Do you remember the {t}?",
        "What would make the {t} better for you?",
    ),
    "beginner": (
        "If you are new to the {t}, this message is for you.",
        "Here is the {t}, explained in plain words.",
        "You need no experience with the {t} for this.",
        "If you have never tried the {t}, begin here.",
    ),
}
CLOSERS: Final[dict[str, tuple[str, ...]]] = {
    "plain": (
        "More about the {t} will follow next week.",
        "All dates are on the notice board.",
        "The help page has the rest.",
        "That is all for now.",
        "We will write again when there is more to tell.",
        "Until then, have a good week.",
    ),
    "formal": (
        "We remain respectfully at your service.",
        "Sincerely, your service team.",
        "Kindly keep this message for your records.",
        "Yours faithfully, the customer office.",
        "You may contact our office at your convenience.",
    ),
    "playful": (
        "High five, and off you go!",
        "Cue the happy dance!",
        "Now throw some confetti and smile!",
        "Yay for you and for the {t}!",
        "Hooray, that's it!",
        "Woohoo, see you soon!",
    ),
    "warm": (
        "Thank you for your trust in us.",
        "Take good care of yourself.",
        "We are always here for you.",
        "You have us by your side.",
        "Take care, and give our best to your family.",
        "It means a lot that you read this.",
    ),
    "urgent": (
        "Please answer before midnight.",
        "Do not wait until it is too late.",
        "Hurry, there are only a few places.",
        "There are only two hours left.",
        "Please see to it right away.",
        "Time is running out, so do not delay.",
    ),
    "question": (
        "What do you think about it?",
        "Will you be there?",
        "Which part matters most to you?",
        "Shall we tell you more about the {t}?",
        "Can we help you with anything?",
        "How does that sound?",
    ),
    "beginner": (
        "It works step by step, so you cannot get lost.",
        "No experience is needed, and every word is explained.",
        "We begin from scratch and explain every part.",
        "If this is new for you, just follow the pictures.",
        "In simple words, you only have to follow along.",
        "Even if it is your first time, you will manage.",
    ),
    "action": (
        "Book your place on our page today.",
        "Join us and bring a friend.",
        "Reply to this message with a yes.",
        "Tap the green button to begin.",
        "Sign up for the {t} with one line.",
        "Reserve your seat at the front desk.",
        "Register on our page this week.",
        "Click the link below to see more.",
        "Download the plan for the {t} now.",
        "Visit our page about the {t} today.",
    ),
}
SHORT: Final[dict[str, tuple[str, ...]]] = {
    "playful": ("Psst!", "Ta-da!", "Woohoo!", "Yay!", "Hooray!", "Whoop whoop!", "Drumroll!", "High five!"),
    "warm": (
        "Take care.",
        "Thank you for everything.",
        "We are here for you.",
        "It means a lot.",
        "So glad you are here.",
    ),
    "urgent": ("Please hurry.", "Do not wait.", "Last chance.", "Only hours left.", "Time is running out."),
    "question": ("Ready?", "Will you come along?", "Any ideas?", "How does that sound?", "Shall we talk?"),
    "beginner": (
        "No experience needed.",
        "Learn it step by step.",
        "Explained in plain words.",
        "We start from scratch.",
    ),
    "action": ("Book now.", "Join us.", "Reply today.", "Tap here.", "Sign up today.", "Register now.", "Click below."),
}
# `{x}` is a thing to mention.
MENTIONS: Final[tuple[str, ...]] = (
    "You will also read about the {x}.",
    "There is a note on the {x} as well.",
    "We have also thought of the {x}.",
    "It goes well with the {x}.",
    "A word on the {x} is included.",
    "Something about the {x} comes with it.",
)
SHORT_MENTIONS: Final[tuple[str, ...]] = (
    "Think of the {x}, too.",
    "See also the {x}.",
    "It goes well with the {x}.",
    "With a note on the {x}.",
)
GREETINGS: Final[dict[str, tuple[str, ...]]] = {
    "plain": ("Hi {name},", "Hello {name},", "Good day {name},"),
    "formal": ("Dear {name},",),
    "playful": ("Hey {name},", "Hey hey {name},"),
}
