"""What witnesses say besides: doubts, and asides that tell nothing about the person."""

from __future__ import annotations

#: Behind a claim, without taking it back.
HEDGES = (
    ", I think",
    ", if I remember rightly",
    ", as far as I could see",
    ", I am fairly sure",
    ", I believe",
)
#: Asides that say nothing about the person: no word in them names an attribute's value.
ASIDES = (
    "It was around noon, on the corner by the bakery.",
    "There were quite a few other people about, so I may have missed something.",
    "My sister noticed the same person a minute later, near the station.",
    "I only had a few seconds to look before the bus came between us.",
    "The light was not very good at that time of the day, to be honest.",
    "I remember it because I was already late for my appointment.",
    "We were waiting for the tram, and there was not much else to look at.",
    "You could ask the owner of the kiosk, who must have seen it too.",
    "I told my colleague about it straight afterwards.",
    "It happened on the side of the square where the market used to be.",
    "That is what I told the officer at the desk as well.",
    "I could not say where this person came from or went to afterwards.",
    "There is a camera above the entrance that should have caught it.",
    "I have lived in this street for eleven years and had not seen this person before.",
    "My memory for faces is poor, but I do look at what people have with them.",
    "It had been raining all morning, and the ground was still wet.",
    "I would recognise the person again, I am quite certain of that.",
    "Somebody called out a name, but I did not catch it.",
    "All of this took less than a minute, from beginning to end.",
    "I am telling you everything that I can remember, in no special order.",
    "The clock on the town hall had just struck the quarter.",
    "Please bear with me, I am trying to go through it from top to bottom.",
)
