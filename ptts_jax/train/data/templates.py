"""The rules of the sentence grammar: patterns whose {slots} are filled by words or other patterns.

Only data: knows neither chance nor speech.
"""

from __future__ import annotations

from ptts_jax.train.data import words as w

# Fillers of a slot; those that hold {slots} are filled in turn.
SLOTS: dict[str, tuple[str, ...]] = {
    "name": w.NAMES,
    "country": w.PLACES,
    "people": w.PEOPLE,
    "peoples": w.PLURAL_PEOPLE,
    "thing": w.THINGS,
    "things": w.PLURAL_THINGS,
    "animal": w.ANIMALS,
    "food": w.FOODS,
    "drink": w.DRINKS,
    "room": w.ROOMS,
    "spot": w.SPOTS,
    "vehicle": w.VEHICLES,
    "part": w.PARTS,
    "idea": w.IDEAS,
    "subject": w.SUBJECTS,
    "adj": w.ADJECTIVES,
    "mood": w.MOODS,
    "color": w.COLORS,
    "adv": w.ADVERBS,
    "manner": w.MANNERS,
    "time": w.TIMES,
    "day": w.DAYS,
    "month": w.MONTHS,
    "weather": w.WEATHER,
    "number": w.NUMBERS,
    "ordinal": w.ORDINALS,
    "nation": w.NATIONS,
    "poss": ("my", "your", "his", "her", "our", "their", "the", "the", "this", "that"),
    "whose": ("my", "your", "his", "her", "our", "their", "{name}'s"),
    "prep": w.PREPOSITIONS,
    "he": ("he", "she", "{name}", "the {people}", "my {people}", "everyone", "nobody", "somebody"),
    "they": ("I", "you", "we", "they", "the {peoples}", "{name} and {name}", "some {peoples}"),
    "who": ("{he}", "{he}", "{they}"),
    "him": ("me", "you", "him", "her", "us", "them", "{name}", "the {people}", "my {people}"),
    "one": ("the {adj} {thing}", "the {thing}", "{whose} {thing}", "a {adj} {thing}", "a {thing}"),
    "some": (
        "the {things}",
        "{number} {things}",
        "these {things}",
        "those {things}",
        "{adj} {things}",
    ),
    "it": ("{one}", "{one}", "{some}", "the {idea}", "the {animal}", "{poss} {thing}", "it"),
    "where": (
        "in the {room}",
        "in the {spot}",
        "at the {spot}",
        "near the {spot}",
        "behind the {spot}",
        "across the {spot}",
        "by the {spot}",
        "outside the {spot}",
        "under the {thing}",
        "on the {thing}",
        "beside the {thing}",
        "in {country}",
        "here",
        "there",
        "at home",
        "upstairs",
        "everywhere",
        "somewhere else",
    ),
    "can": ("can", "could", "will", "would", "should", "must", "may", "might", "cannot", "won't"),
    "did": ("did not", "didn't", "never did", "could not", "would not", "wanted to", "had to"),
    "why": ("because", "since", "although", "though", "before", "after", "while", "when", "unless"),
    "count": ("{digits}", "{digits}", "{number}"),
    "clock": (
        "{hour}:{minute}",
        "{hour} o'clock",
        "half past {hour}",
        "{hour}:30",
        "a quarter to {hour}",
    ),
}

PATTERNS: tuple[str, ...] = tuple(
    line.strip()
    for line in """
{he} {ved} {it}.
{they} {ved} {it} {time}.
{he} {vs} {it} {time}.
{they} {v} {it} {manner}.
{he} is {ving} {it} {where}.
{they} were {ving} {some}.
{he} has {ven} {it} {number} times.
{they} have already {ven} {one}.
{he} had never {ven} {one} before.
{he} {ied} {manner}.
{he} {ied} {where}.
{they} {ied} {where} {time}.
{he} was {iing} {where}.
{who} {can} {v} {it}.
{who} {can} {i} {time}.
{who} {did} {v} {it}.
{who} {did} {i} {where}.
I think that {he} {vs} {it}.
I am sure {he} will {i} {time}.
We hope that {they} can {v} {it}.
{one} was {ven} by {him}.
{one} was {ven} {where}.
{some} were {ven} {time}.
{one} is {adj} and {adj}.
{one} is {color}, but {one} is {color}.
{one} seems {adj} to {him}.
{he} looks {mood} {time}.
{he} was {mood} and {mood}.
{they} feel {mood} when {they} {i}.
Are you {mood}?
Is {he} {mood} {time}?
Was {one} {adj}?
Do you {v} {it}?
Does {he} {v} {one} {manner}?
Did {they} {v} {it} {where}?
Have you ever {ven} {one}?
Can you {v} {it} for {him}?
Could you please {v} {one}?
Would you like some {food}?
Would you like {food} or {food}?
Will {he} {i} with {him} {time}?
Why did {he} {v} {it}?
Why are {they} {iing}?
Where did {they} {v} {some}?
Where is {whose} {thing}?
Where are {whose} {things}?
When will {he} {v} {it}?
When did {they} {i}?
Who {ved} {it}?
Who is {iing} {where}?
What did {he} {v} {time}?
What do {they} think of {it}?
What color is {one}?
How did {they} {v} {it}?
How many {things} did {he} {v}?
How much {drink} do you need?
How old is {whose} {people}?
How far is it to the {spot}?
Which {thing} is {adj}?
Whose {thing} is that?
Isn't {one} {adj}?
Don't {v} {it}.
Do not {i} {where}.
Never {v} {it} {manner}.
Always {v} {it} {time}.
Please {v} {it} {manner}.
Please {i} {time}.
{v} {it} and {v} {it}.
{v} {one}, please.
Let us {v} {it} {time}.
Let {him} {v} {it}.
Put {it} {where}.
Give {him} {some}.
Tell {him} about {it}.
Show {him} how to {v} {it}.
Bring {him} some {food} and {drink}.
Take {it} to the {spot}.
Turn {ordinal} at the {spot}.
{he} eats {food} with {food}.
{they} had {food} and {food} for dinner.
The {food} tastes {adj}.
{he} drinks {drink} {time}.
I would rather have {drink} than {drink}.
There is {drink} in the {thing}.
There is a {adj} {animal} {where}.
There are {number} {things} {where}.
There was no {drink} left {where}.
There were {peoples} {where}.
{number} {peoples} {ied} {where}.
{number} {things} are {adj}.
The {animal} {ied} {prep} the {spot}.
The {animal} {ved} the {animal}.
A {adj} {animal} {ied} {where}.
A {animal} is as {adj} as a {animal}.
My {animal} likes {food}.
The {color} {animal} {ied} {time}.
{he} {ied} {prep} the {spot}.
{they} {ied} {prep} the {room}.
It is {weather} {where}.
It was {weather} and {weather} {time}.
It will be {weather} on {day}.
It rained {time}.
It might snow {time}.
The weather in {country} is {weather}.
The sun {ied} {prep} the {spot}.
The wind blew {prep} the {spot}.
{he} comes from {country}.
{they} flew to {country} on {day}.
{they} will travel to {country} in {month}.
{he} speaks {nation} and {nation}.
The {nation} {people} {ied} {manner}.
See you on {day} {where}.
The {ordinal} {people} was {mood}.
The {ordinal} {thing} is on the left.
{he} was born in {month}.
{whose} birthday is in {month}.
{day} is the {ordinal} day of the week.
We met in {year}.
It happened in {year}.
The {vehicle} leaves at {clock}.
The {vehicle} arrived {count} minutes late.
It is {clock}.
Wake me at {clock}.
Let's meet at {clock} {where}.
The meeting is on {day} at {clock}.
The answer is {digits}.
It costs {count} dollars.
{he} paid {count} dollars for {one}.
My number is {digits}.
Turn to page {digits}.
Chapter {small} was {adj}.
We have {count} {things} {where}.
{he} is {small} years old.
Room {digits} is on the {ordinal} floor.
{small} plus {small} is {small}.
The {vehicle} stopped {where}.
{they} went to the {spot} by {vehicle}.
{he} drove the {vehicle} {prep} the {spot}.
Is the {spot} open {time}?
The {spot} is {adj} {time}.
The {spot} is between the {spot} and the {spot}.
The {adj} {spot} is {prep} the {spot}.
{whose} {part} hurts {time}.
{he} broke {whose} {part} {where}.
Wash {whose} {part} with {adj} water.
{whose} {part} is {adj} and {adj}.
The {idea} of {idea} is {adj}.
{idea} and {idea} are not the same.
{idea} is more important than {idea}.
{they} need more {idea}.
{he} spoke about {idea} and {idea}.
What is {idea} without {idea}?
There is no {idea} in {idea}.
{he} has a {adj} {idea}.
This {idea} is {adv} {adj}.
{whose} {idea} was {adv} {adj}.
{he} studies {subject} and {subject}.
{subject} is {adv} {adj}.
Do you enjoy {subject}?
{he} {adv} {vs} {it}.
{they} {adv} {ved} {it}.
{adv}, {he} {ved} {it}.
{adv}, {they} {ied} {where}.
{he} {ied}, and {he} {ied}.
{he} {ied} {why} {he} {ved} {it}.
{they} {v} {it} {why} {they} are {mood}.
If you {v} {it}, {he} will {i}.
If {he} {ied}, {they} would {v} {it}.
{why} {he} {ied}, {they} {ved} {it}.
{he} {ved} both {one} and {one}.
{he} {ved} neither {one} nor {one}.
Either {he} {vs} {it}, or {they} {i}.
{he} said that {he} {ved} {it}.
{he} asked whether {they} {v} {it}.
{he} told {him} to {v} {it}.
{he} wants to {v} {it}.
{they} want {him} to {v} {some}.
{they} like to {i} {where}.
{he} stopped {iing} {time}.
{they} kept {ving} {it}.
{he} enjoys {ving} {some} {where}.
{ving} {it} is {adj}.
{iing} is {adj} {time}.
It is {adj} to {v} {it}.
It is too {adj} to {i} {where}.
It takes {count} minutes to {v} {it}.
{he} is {adj} enough to {v} {it}.
{he} is taller than {him}.
{he} is the most {adj} {people} {where}.
{one} is better than {one}.
{one} is not as {adj} as {one}.
{one} belongs to {him}.
{one} is full of {things}.
{one} is made of {idea}.
{one} fell {prep} the {thing}.
{one} looks like a {adj} {animal}.
{he} wore a {color} {thing} and {color} {things}.
{he} painted {one} {color} and {color}.
The {color} {thing} is {whose} {thing}.
This is {one}.
These are {whose} {things}.
Those {things} are {adj}.
That {people} {ved} {it}.
What a {adj} {thing}!
How {adj} it is!
{he} lives {where} with {whose} {people}.
{he} works as a {people} {where}.
{name} is a {adj} {people}.
{name} is {whose} {adj} {people}.
{name}, {v} {it}!
Thank you, {name}.
Hello, {name}, how are you {time}?
Excuse me, where is the {spot}?
Good morning, {name}.
Is that you, {name}?
{name}, {name} and {name} {ied} {where}.
We need {food}, {food} and {food}.
{color}, {color} and {color} are colors.
The {things}, the {things} and the {things} are {adj}.
Not every {people} {vs} {it}.
Each {people} {ved} {one}.
Most {peoples} {v} {it}.
All the {peoples} {ied} {manner}.
None of the {peoples} {ved} {it}.
Nothing is {adj} {where}.
Something {adj} happened {where}.
Anyone can {v} {it}.
Everything was {adj} {time}.
""".strip().splitlines()
)
