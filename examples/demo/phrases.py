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

# One sentence that carries the content. Keys: message kind, then register.
CORES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "update": {
        "plain": (
            "We have added {feature} to the {t}.",
            "The latest version of the {t} comes with {feature}.",
            "From {day} on, you will find {feature} in the {t}.",
            "Our team has improved the {t} and now offers {feature}.",
            "There is news about the {t}, which now includes {feature}.",
            "After many requests, the {t} now comes with {feature}.",
            "This week brings {feature} for everyone who uses the {t}.",
            "Starting on {day}, the {t} will include {feature}.",
        ),
        "formal": (
            "We are pleased to announce that the {t} now includes {feature}.",
            "We would like to inform you that the {t} will offer {feature} from {day} on.",
            "Please be advised that the {t} has been extended with {feature}.",
            "With regard to the {t}, we have now introduced {feature}.",
            "We wish to announce {feature} for all customers of the {t}.",
            "Kindly note that the {t} has been improved and now provides {feature}.",
        ),
        "playful": (
            "The {t} has a shiny new trick up its sleeve, namely {feature}.",
            "Guess who got a makeover, it's the {t}, now with {feature}.",
            "We sprinkled some magic on the {t}, and out popped {feature}.",
            "The {t} just learned how to show off with {feature}.",
            "Somebody fed the {t} too much cake, and now it comes with {feature}.",
            "The {t} woke up today and decided to surprise you with {feature}.",
        ),
        "short": (
            "The {t} now has {feature}.",
            "New in the {t} is {feature}.",
            "The {t} gets {feature} on {day}.",
            "Added to the {t} is {feature}.",
            "News for the {t} is {feature}.",
        ),
        "short formal": (
            "Kindly note that the {t} now offers {feature}.",
            "We are pleased to add {feature} to the {t}.",
            "With regard to the {t}, we now offer {feature}.",
            "We wish to announce {feature} for the {t}.",
        ),
    },
    "reminder": {
        "plain": (
            "The next date for the {t} is {day} at {time} {place}.",
            "This is a reminder that the {t} is planned for {day} at {time}.",
            "We expect you for the {t} on {day} at {time} {place}.",
            "Your place for the {t} is held for you until {day} at {time}.",
            "On {day} at {time}, it is time again for the {t}.",
            "You asked us to remind you of the {t} on {day} at {time}.",
            "The {t} is on your calendar for {day} at {time} {place}.",
            "We are holding the {t} on {day}, starting at {time} {place}.",
        ),
        "formal": (
            "We would like to inform you that the {t} is scheduled for {day} at {time}.",
            "Kindly remember that the {t} will take place on {day} at {time} {place}.",
            "Please be advised that the {t} is due on {day} at {time}.",
            "With regard to the {t}, we expect your presence on {day} at {time}.",
            "We wish to remind you of the {t}, which is set for {day} at {time}.",
            "You are advised to note the {t} on {day} at {time} {place}.",
        ),
        "playful": (
            "A little bird told us that the {t} is waiting for you on {day} at {time}.",
            "Tie a knot in your sock, because the {t} is on {day} at {time}.",
            "The {t} misses you already and hopes to see you on {day} at {time}.",
            "Your calendar is tickling you, since the {t} is on {day} at {time}.",
            "Dust off your dancing shoes, the {t} is on {day} at {time} {place}.",
            "The {t} put on its best hat and is waiting for you on {day} at {time}.",
        ),
        "short": (
            "The {t} is on {day} at {time}.",
            "Remember the {t} on {day}.",
            "See you at the {t} on {day}.",
            "Your {t} is due on {day}.",
            "Next date for the {t} is {day}.",
        ),
        "short formal": (
            "Kindly remember the {t} on {day}.",
            "Please be advised that the {t} is due on {day}.",
            "We wish to remind you of the {t} on {day}.",
            "You are advised to note the {t} on {day}.",
        ),
    },
    "tip": {
        "plain": (
            "Set aside {span} for the {t} {often}, and you will soon see a difference.",
            "It helps to keep a small notebook for the {t} and to look at it {often}.",
            "You get more out of the {t} when you plan {span} for it {often}.",
            "A good way to enjoy the {t} is to change only one thing at a time.",
            "Check the {t} {often}, because small problems are easy to fix early.",
            "Many people save time with the {t} by preparing everything the evening before.",
            "Give the {t} {span} {often}, and the rest of the work becomes easier.",
            "Keep the things you need for the {t} in one place, close at hand.",
        ),
        "formal": (
            "It is recommended to reserve {span} for the {t} {often}.",
            "You are advised to review the {t} {often} and to record any changes.",
            "Kindly consider planning {span} for the {t} {often}.",
            "With regard to the {t}, regular care of {span} has proved useful.",
            "We would like to inform you that the {t} benefits from {span} of care {often}.",
            "We wish to suggest that the {t} be prepared on the evening before.",
        ),
        "playful": (
            "Treat the {t} like a pet, and it's happy with {span} of love {often}.",
            "Sing to the {t} {often}, and if nobody hears you, sing louder.",
            "Even superheroes give the {t} {span} {often} before they save the world.",
            "Swap your sofa for the {t} {often}, and your socks won't believe it.",
            "Sneak {span} of the {t} into your day {often}, like a secret cookie.",
            "Bribe yourself with a biscuit, and the {t} is done in {span}.",
        ),
        "short": (
            "Plan {span} for the {t} {often}.",
            "Check the {t} {often}.",
            "Give the {t} {span} {often}.",
            "Keep the {t} simple and steady.",
            "Prepare the {t} the evening before.",
        ),
        "short formal": (
            "It is recommended to review the {t} {often}.",
            "You are advised to check the {t} {often}.",
            "Kindly plan {span} for the {t} {often}.",
            "With regard to the {t}, we wish to suggest {span} {often}.",
        ),
    },
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
