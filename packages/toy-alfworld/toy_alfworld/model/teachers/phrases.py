"""The words of critiques and judgements, by the action's result.

`[a|b]` are alternatives. Slots: `{a}` the action, `{s}` what is sought (`apple`), `{as}` that with its
article, `{t}` the object of the action, `{p}` its receptacle, `{word}` the receptacle's type, `{at}` in or
on, `{h}` what is in the hand, `{afar}` that the player stands elsewhere, `{known}` the receptacle where
what is sought was seen, `{last_seen}` where the object of the action was seen, `{needs}` what kind of
receptacle the object in hand has to go to now, `{name}` the first name of the action, `{chance}` one of
`CHANCES`, `{place}` one of `PLACES`, `{lead}` one of `LEADS`, `{verb}` the preparation that the task asks
for.

A judgement gives the fact first and then the conclusion: first what is needed and then whether this is it,
first where an object is and then whether that is here. A small model builds on what it has just written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from toy_alfworld.model.teachers.verdicts import Kind, Likelihood


class Words(NamedTuple):
    """For one kind of outcome: the first and second part of a critique, and a deliberation's judgement."""

    opening: str
    reason: str
    judgement: str


WORDS: Mapping[Kind, Words] = {
    "tried": Words(
        "{lead} {a} [is not valid now|will be refused|does nothing now], [because|since] it has just been "
        "tried in vain",
        "[Repeating|Going on with] what does nothing is a [common|frequent|typical] error loop, and "
        "[something else has to be tried|another step is needed]",
        "{name} was tried just now, so [nothing would happen|this would fail]",
    ),
    "absent": Words(
        "{lead} {a} [is not valid here|will be refused|does not work now], [because|since] {t} is "
        "not [there|at {p}|what {p} holds]",
        "[Taking|Grabbing|Reaching for] an object [before it has been seen|that is not in sight] "
        "is a [common|frequent|typical] "
        "mistake, and {t} [still has to be found|must be found first]",
        "{last_seen}, so [nothing would happen|this would fail]",
    ),
    "here": Words(
        "{lead} {a} [is not valid now|will be refused|does nothing now], [because|since] I am already at {p}",
        "[Repeating|Going on with] such a step is a [common|frequent|typical] error loop, "
        "and I can act at {p} at once",
        "{p} is where I am, so [nothing would happen|this would fail]",
    ),
    "nowhere": Words(
        "{lead} {a} [is not valid here|will be refused|does nothing now], [because|since] {p} is not "
        "[in this room|among the places of this room]",
        "[Naming|Going to] a place that [is not there|nobody has seen] is a [common|frequent|typical] "
        "mistake, and [repeating it|trying it again] would [only waste steps|change nothing]",
        "{p} is not in this room, so [nothing would happen|this would fail]",
    ),
    "away": Words(
        "{lead} {a} [is not valid from here|will be refused|fails now], [because|since] I am not "
        "[standing at|at|next to] {p}",
        "I [must|have to|need to] go to {p} before I can [use it|do anything there|act on it]",
        "{p} is {afar}, so [nothing would happen|this would fail]",
    ),
    "full": Words(
        "{lead} {a} [is not valid now|will be refused|cannot work], [because|since] my hand is [not "
        "free|already full]",
        "I can [hold|carry] only one object, so what I [hold|carry] has to be [used or put down|put "
        "somewhere] first",
        "{h} is in my hand, so [nothing would happen|this would fail]",
    ),
    "empty": Words(
        "{lead} {a} [is not valid now|will be refused|cannot work], [because|since] I [do not "
        "hold|am not holding|am not carrying] {t}",
        "An object has to be [found and taken|picked up|in my hand] before it can be [put|used|handled]",
        "{t} is not in my hand, so [nothing would happen|this would fail]",
    ),
    "shut": Words(
        "{lead} {a} [is not valid yet|will be refused|fails now], [because|since] {p} is "
        "[closed|still closed]",
        "A closed {word} has to be opened before anything can be [taken out or put in|reached]",
        "{p} is closed, so [nothing would happen|this would fail]",
    ),
    "opened": Words(
        "{lead} {a} [is not valid now|will be refused|does nothing now], [because|since] {p} is not closed",
        "What is open already, or has no door, [shows|gives] all that it holds, and "
        "[repeating it|trying it again] would [only waste steps|change nothing]",
        "{p} is not closed, so [nothing would happen|this would fail]",
    ),
    "unfit": Words(
        "{lead} {a} [is not valid here|will be refused|does nothing now], [because|since] {p} cannot {verb} "
        "anything",
        "The task wants me to {verb} it, but that [takes|needs] another place, and "
        "[repeating it|trying it again] would [only waste steps|change nothing]",
        "{needs}, and {p} is none, so [nothing would happen|this would fail]",
    ),
    "refused": Words(
        "{lead} {a} [is not a valid action here|will be refused|is not understood|does nothing now]",
        "The [wording|form] or the [moment|place] is wrong, and [repeating it|trying it again] would "
        "[only waste steps|change nothing]",
        "it is not [a valid action|possible] here, so [nothing would happen|this would fail]",
    ),
    "found": Words(
        "{lead} {a} is [valid|a valid step] and [should reveal|is likely to show|leads to] the {s} "
        "[that I need|I am looking for|for this task]",
        "{chance}, and finding the {s} [is the key sub-goal now|is what the task needs next|is real "
        "progress]",
        "{p} is not seen yet, and {place}",
    ),
    "promising": Words(
        "{lead} {a} is [valid|a valid step], and {p} is closed but [should hold|is likely to "
        "hold|probably holds] the {s}",
        "{chance}, so [opening it next|opening it right away] should [reveal the {s}|pay off|be real "
        "progress]",
        "{p} is not seen yet, and {place}",
    ),
    "closed": Words(
        "{lead} {a} is [valid|a valid step], but {p} is closed and [has to be opened|needs one more "
        "step] before I [know what is inside|see anything]",
        "{chance}, so it is [only a guess|uncertain] whether the {s} is inside",
        "{p} is not seen yet, and {place}",
    ),
    "barren": Words(
        "{lead} {a} is [valid|a valid step], but the {s} is [not there|not likely to be "
        "there|probably elsewhere]",
        "{chance}, and [all it does is rule out one place|it only rules out {p}]",
        "{p} is not seen yet, and {place}",
    ),
    "detour": Words(
        "{lead} {a} is valid but a detour, [because|since] I [know|have seen] where the {s} is",
        "[Searching on|Looking elsewhere] after the {s} has been [seen|found] [only costs steps|is a waste "
        "of steps], and it waits at {known}",
        "the {s} is at {known}, not at {p}",
    ),
    "again": Words(
        "{lead} {a} is valid but [of no use|pointless|a step back], [because|since] I have [already "
        "seen|already checked] {p}",
        "[Going back to|Checking again] what has been [seen|checked] is a [common|frequent|typical] "
        "[error loop|waste of steps], and the {s} is not there",
        "{p} is seen already, and the {s} is not there",
    ),
    "fetch": Words(
        "{lead} {a} is [valid|a valid step] and [brings me back|returns me] to where the {s} [is|was seen]",
        "[Knowing|Remembering] where the {s} is [saves|spares] searching, and I can [take|pick up] "
        "it there [next|at once]",
        "{p} is seen already, and the {s} is there",
    ),
    "took": Words(
        "{lead} {a} is [valid|a valid step] and gives me {t}, [just what|the very object] the task asks for",
        "[Having|Holding] the {s} is [an important sub-goal|a key step], and what is left is to "
        "[bring it where it has to go|use it as the task says]",
        "{t} is at {p}, as the task asks",
    ),
    "stray": Words(
        "{lead} {a} is valid, but {t} is [not what the task asks for|the wrong object|of no use here]",
        "It would [fill|occupy] my hand with [the wrong object|something useless] while [the task "
        "needs|I still need] the {s}",
        "{t} is at {p}, but the task asks for {as}",
    ),
    "undone": Words(
        "{lead} {a} is valid, but {t} is already where it [belongs|should be]",
        "It would undo [progress|a finished part of the task], [a common mistake|a typical error] "
        "when two objects are needed",
        "{t} is at {p}, where it belongs",
    ),
    "appliance": Words(
        "{lead} {a} is [valid|a valid step] and brings the {s} to where I can {verb} it",
        "The task wants me to {verb} it [first|before it is put away], and {p} is [made for that|the "
        "right appliance|what that takes]",
        "{needs}, and {p} is one",
    ),
    "prepared": Words(
        "{lead} {a} is [valid|a valid step] and does what the task [asks for|needs] before the {s} "
        "is put away",
        "[Skipping this|Forgetting to {verb} it] is a [common|frequent] mistake, and with it done "
        "{t} [only has to be delivered|is ready]",
        "{needs}, and {p} is one",
    ),
    "needless": Words(
        "{lead} {a} is valid, but the task does not [ask|call] for it",
        "It would [change the {s} in a way nobody asked for|waste a step], and [brings the goal no "
        "closer|is no progress]",
        "{t} does not need this",
    ),
    "bring": Words(
        "{lead} {a} is [valid|a valid step] and brings the {s} to where it belongs",
        "{p} is the [target|right place] for the {s}, so [putting it there comes next|the goal is close]",
        "{needs}, and {p} is one",
    ),
    "early": Words(
        "{lead} {a} is valid but too early, [because|since] I have not [managed to {verb}|yet done "
        "what it takes to {verb}] the {s}",
        "[Delivering|Bringing] the {s} [as it is|unprepared] is a [common|frequent] mistake, and the "
        "task [would not be done|would stay open]",
        "I still have to {verb} the {s}",
    ),
    "wander": Words(
        "{lead} {a} is valid, but {p} is not where the {s} has to go [now|next]",
        "I [already hold|have] the {s}, so [wandering off|going elsewhere] [costs steps|only delays "
        "the goal]",
        "{needs}, and {p} is none",
    ),
    "done": Words(
        "{lead} {a} is [valid|a valid step] and puts {t} just where the task wants it",
        "[Delivering|Placing] the {s} at the right place is the [decisive|final] sub-goal, and "
        "everything [needed|required] for it is in place",
        "{needs}, and {p} is one",
    ),
    "misput": Words(
        "{lead} {a} is valid, but {p} is not where the task wants {t}",
        "It [frees my hand|lays the object down] without [serving|reaching] the goal, and the object "
        "may have to be [taken|picked up] again",
        "{needs}, and {p} is none",
    ),
    "unload": Words(
        "{lead} {a} is [valid|a valid step], and there I can [put down|get rid of] {h}, which the task does "
        "not ask for",
        "I can [hold|carry] only one object, so [this comes first|the hand has to be free] before I can take "
        "the {s}",
        "{h} is not what the task asks for, and it can be put down at {p}",
    ),
    "freed": Words(
        "{lead} {a} is [valid|a valid step] and frees my hand of {t}, which the task does not ask for",
        "I can [hold|carry] only one object, so [this comes first|the hand has to be free] before I can take "
        "the {s}",
        "{t} is not what the task asks for, and my hand has to be free",
    ),
    "dropped": Words(
        "{lead} {a} is valid, but it [lays down|gives away] {t}, which the task is about",
        "The {s} has to be in my hand [under the light|when the light goes on], so it would have to be "
        "[taken|picked up] again",
        "{t} has to stay in my hand for the light",
    ),
    "lamp": Words(
        "{lead} {a} is [valid|a valid step] and brings me to the desklamp with the object in my hand",
        "[Under the lamp|There] the object can be looked at, so [turning on the desklamp comes "
        "next|the goal is close]",
        "{p} is where the desklamp is",
    ),
    "light": Words(
        "{lead} {a} is [valid|a valid step] and gives light while I hold the object",
        "Looking at the object under the desklamp is [just what the task asks for|the final sub-goal]",
        "{t} gives light, and {h} is in my hand",
    ),
    "dark": Words(
        "{lead} {a} is valid, but I do not [hold|have] the object that the task is about",
        "The {s} has to be in my hand before the light [is of any use|counts]",
        "{t} gives light, but the {s} is not in my hand",
    ),
    "idle": Words(
        "{lead} {a} is valid but [does not change anything that matters|brings nothing new|is a mere "
        "look around]",
        "The [task|goal] needs [a step that moves or finds something|real steps], and this one [only "
        "costs time|leaves everything as it was]",
        "it [changes nothing that matters|brings nothing new]",
    ),
}

LEADS = "[The action|The step|Here|Now|At this point|In this state]"
"""The start of an opening, so that the action follows exactly as it is written."""

CHANCES: Mapping[Likelihood, str] = {
    "likely": "[{as} is often kept {at} a {word}|a {word} is a [likely|usual|natural] place for {as}]",
    "possible": "[{as} may well be {at} a {word}|a {word} is a possible place for {as}]",
    "unlikely": "[{as} is rarely kept {at} a {word}|a {word} is an [unlikely|odd|unusual] place for {as}]",
}

CLOSINGS: Mapping[tuple[str, str], str] = {
    ("good", "won"): (
        "[Overall|In practice|All in all], the task [should be completed from here|can be completed this "
        "way], so [a strong choice|the right choice|a very good step] is to {a}"
    ),
    ("good", "lost"): (
        "[Overall|In practice|All in all], the task is [easily left unfinished|not done by it alone], but "
        "[a good step|the right step] is to {a}"
    ),
    ("good", "stuck"): (
        "[Overall|In practice|All in all], I must not fall into [repeating one action|an error loop] after "
        "it, but [a good step|the right step] is to {a}"
    ),
    ("fair", "won"): (
        "[Overall|In practice|All in all], the task can [still|well] be completed [from here|after it], so "
        "it is [acceptable|a reasonable try] to {a}"
    ),
    ("fair", "lost"): (
        "[Overall|In practice|All in all], the steps [may run out|are likely to run out] before the task is "
        "done, so it is [a weak choice|not convincing] to {a}"
    ),
    ("fair", "stuck"): (
        "[Overall|In practice|All in all], it easily ends in [repeating one action|an error loop], so it is "
        "[a weak choice|not convincing] to {a}"
    ),
    ("poor", "won"): (
        "[Overall|In practice|All in all], the task can still be completed [later|after it], but it is "
        "[a poor choice|not worth a step] to {a}"
    ),
    ("poor", "lost"): (
        "[Overall|In practice|All in all], the task is [unlikely to be finished|likely to fail] this way, so "
        "it is [a poor choice|better not] to {a}"
    ),
    ("poor", "stuck"): (
        "[Overall|In practice|All in all], it easily ends in [repeating one action|an error loop], so it is "
        "[a poor choice|better not] to {a}"
    ),
}
"""The end of a critique. It names the action, so that a reader of several critiques can assign it."""

PLACES: Mapping[Likelihood, str] = {
    "likely": "a likely place for {as}",
    "possible": "a possible place for {as}",
    "unlikely": "no likely place for {as}",
}
"""Common sense in a judgement."""

STANCES: Mapping[Literal["chosen", "good", "fair", "poor"], str] = {
    "chosen": "the best choice is to {a}",
    "good": "a good step",
    "fair": "a guess",
    "poor": "[of no use|a mistake]",
}
"""The end of a deliberation's judgement of an action. The chosen one is named: the deliberation's conclusion
repeats these words, so that it can be copied from the list."""
