#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A procedural reference language: unlimited text whose long contexts matter.

Every document is a small world: people, places and objects whose names are put together from
syllables, so that no tokenizer or model can know them beforehand, and facts about them that are
drawn once per document. Scenes bring a few of them on stage at a time; facts are stated, asked
and restated a few words or thousands of words later, and proverbs return word by word. A model
that looks back therefore predicts better, the farther it can look. Some scenes hide a pass key
in filler, in the style of the passkey task of landmark attention, YaRN and LongRoPE.

The text is ASCII on a single line, with no newline. It depends on the seed and on nothing else:
random.Random with a string seed is the same on every machine. Files never hold a document of
the training run: train.py numbers its documents, and files draw from seeds of another form.

    python3 language.py --documents 3 --bytes 60000 --seed 7 --out DIR
"""

import argparse
import os
import random

ONSETS = "b br d dr f fl g gr h j k kl l m n p pr r s sh st t th tr v w z".split()
VOWELS = "a a a e e e i i o o u ai ea ei ia oa".split()
CODAS = ". . . . l m n n r r s d k th x".replace(".", "_").split()
PLACE_ENDS = "vald mere holm ford wick dun stead gate haven moor by crag".split()

COLOURS = "red blue green amber white black silver golden grey violet brown copper".split()
OBJECTS = ("key lamp ring map coin book bell knife cup mirror rope letter drum box flute cloak "
           "candle compass basket hammer").split()
TRADES = ("baker smith sailor weaver miller hunter teacher healer farmer painter singer mason "
          "carpenter fisher tailor guard").split()
FOODS = ("bread apples soup honey cheese fish plums rice beans pears onions nuts berries milk "
         "cake tea").split()
ANIMALS = "dog cat horse goat crow hare eagle owl mule snake".split()
KINDS = "village port city town island fortress market valley".split()
GOODS = "salt wool iron glass wine paper silk timber clay amber oil grain".split()
ROOMS = "kitchen garden cellar attic hall stable tower yard library workshop".split()
WEATHER = "rain snow wind fog sun frost thunder hail".split()
TIMES = "morning evening night noon dawn winter summer spring autumn".split()
MOODS = "happy sad tired angry calm proud afraid hungry quiet glad".split()
VERBS = [("walks", "walk"), ("runs", "run"), ("rides", "ride"), ("travels", "travel"),
         ("sails", "sail"), ("goes", "go"), ("hurries", "hurry"), ("wanders", "wander")]
ACTS = [("opens", "open"), ("cleans", "clean"), ("finds", "find"), ("sells", "sell"),
        ("hides", "hide"), ("repairs", "repair"), ("carries", "carry"), ("buys", "buy"),
        ("drops", "drop"), ("paints", "paint"), ("holds", "hold"), ("borrows", "borrow")]
PROVERB = ("old slow deep bright cold long small wise river stone bird tree road fire moon ship "
           "door song never always before after under over without behind keeps breaks follows "
           "hides turns calls the the the a every no").split()

GARBAGE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
HEADERS = ("There is an important info hidden inside a lot of irrelevant text. Find it and memorize "
           "them. I will quiz you about the important information there.",
           "There is an important info hidden inside a lot of irrelevant text. Find it and memorize "
           "it. I will quiz you about the important information there.")
QUESTION = "What is the pass key? The pass key is"


def passkey_sentence(key):
    """The sentence that hides a key."""
    return f"The pass key is {key}. Remember it. {key} is the pass key."


def draw_key(rng, unseen=False):
    """A key of five digits; one in nine is kept for tests and never written in documents."""
    while True:
        key = rng.randrange(10000, 100000)
        if (key % 9 == 4) == unseen:
            return str(key)


def passkey_prompt(rng, before, after, header=HEADERS[0], joint=" ", key=None, filler=GARBAGE):
    """A passkey prompt and its answer: `before` and `after` count characters of filler."""
    key = key or draw_key(rng)
    longest = filler + (" " + filler) * (max(before, after) // len(filler))
    parts = [header] if header else []
    parts += [longest[:before].strip(), passkey_sentence(key), longest[:after].strip(), QUESTION]
    return joint.join(part for part in parts if part), key


class World:
    """One document: its cast, their facts, and the sentences made of them."""

    def __init__(self, rng, people=22, places=9, pass_keys=True):
        self.rng = rng
        self.pass_keys = pass_keys
        self.used = set()
        self.places = [self.name(place=True) for _ in range(places)]
        self.place = {}
        for name in self.places:
            self.place[name] = {
                "kind": rng.choice(KINDS), "good": rng.choice(GOODS), "colour": rng.choice(COLOURS),
                "houses": rng.randrange(20, 1000), "ruler": self.name(),
                "next": rng.choice([p for p in self.places if p != name])}
        self.people = [self.name() for _ in range(people)]
        self.person = {}
        for name in self.people:
            self.person[name] = {
                "he": rng.choice(("he", "she")), "trade": rng.choice(TRADES),
                "home": rng.choice(self.places), "keeps": f"{rng.choice(COLOURS)} {rng.choice(OBJECTS)}",
                "hidden": rng.choice(self.places), "number": rng.randrange(100, 10000),
                "friend": rng.choice([p for p in self.people if p != name]),
                "food": rng.choice(FOODS), "animal": rng.choice(ANIMALS), "pet": self.name(),
                "room": rng.choice(ROOMS), "word": self.name().lower()}
        self.proverbs = [" ".join(rng.choice(PROVERB) for _ in range(rng.randrange(7, 13)))
                         for _ in range(5)]
        self.weights = [1.0 / (rank + 2.0) for rank in range(people)]  # a few leads, many extras

    def name(self, place=False):
        """A fresh name of two or three syllables."""
        rng = self.rng
        while True:
            name = ""
            for _ in range(1 if place else 2 + (rng.random() < 0.15)):
                name += rng.choice(ONSETS) + rng.choice(VOWELS) + rng.choice(CODAS).strip("_")
            name += rng.choice(PLACE_ENDS) if place else ""
            if len(name) <= 10 and name not in self.used:
                self.used.add(name)
                return name.capitalize()

    def fact(self, who):
        """A sentence that states one fact about a person; the words vary, the fact does not."""
        p = self.person[who]
        forms = (
            (f"{who} is a {p['trade']}.", f"{who} works as a {p['trade']}.",
             f"The {p['trade']} {who} lives in {p['home']}."),
            (f"{who} lives in {p['home']}.", f"The home of {who} is in {p['home']}."),
            (f"{who} keeps the {p['keeps']} in {p['hidden']}.", f"The {p['keeps']} belongs to {who}.",
             f"The {p['keeps']} of {who} lies in {p['hidden']}."),
            (f"The number of {who} is {p['number']}.", f"{who} wrote the number {p['number']}."),
            (f"The best friend of {who} is {p['friend']}.", f"{who} trusts {p['friend']}."),
            (f"{who} likes {p['food']}.", f"{who} eats {p['food']} in the {p['room']}."),
            (f"{who} has a {p['animal']} called {p['pet']}.", f"{p['pet']} is the {p['animal']} of {who}."),
            (f"The secret word of {who} is {p['word']}.", f"{who} says the word {p['word']}."))
        return self.rng.choice(self.rng.choice(forms))

    def place_fact(self, name):
        """A sentence that states one fact about a place."""
        p = self.place[name]
        return self.rng.choice((
            f"{name} is a {p['kind']}.", f"{name} is known for {p['good']}.",
            f"{name} has {p['houses']} houses.", f"{p['ruler']} rules {name}.",
            f"The gates of {name} are {p['colour']}.", f"The road from {name} leads to {p['next']}.",
            f"In {name} there are {p['houses']} houses and {p['ruler']} counts them."))

    def question(self, who):
        """A question about a person and its answer."""
        p = self.person[who]
        return self.rng.choice((
            f"Where does {who} live? {who} lives in {p['home']}.",
            f"What does {who} like? {who} likes {p['food']}.",
            f"What is the number of {who}? The number of {who} is {p['number']}.",
            f"What is the secret word of {who}? The secret word of {who} is {p['word']}.",
            f"Where is the {p['keeps']}? The {p['keeps']} of {who} lies in {p['hidden']}.",
            f"Who is the best friend of {who}? The best friend of {who} is {p['friend']}.",
            f"What is the work of {who}? {who} works as a {p['trade']}.",
            f"What is the name of the {p['animal']} of {who}? "
            f"{p['pet']} is the {p['animal']} of {who}."))

    def event(self, cast, places):
        """One or two sentences of something that happens on stage."""
        rng = self.rng
        who, other = rng.sample(cast, 2)
        he = self.person[who]["he"].capitalize()
        verb, act, where = rng.choice(VERBS), rng.choice(ACTS), rng.choice(places)
        thing = f"{rng.choice(COLOURS)} {rng.choice(OBJECTS)}"
        count = rng.randrange(2, 10)
        return rng.choice((
            f"{who} {verb[0]} to {where}. Now {who} is in {where}.",
            f"{who} and {other} {verb[1]} to {where}. They {act[1]} the {thing}.",
            f"{who} {act[0]} the {thing}. {he} {rng.choice(ACTS)[0]} the {thing} in the {rng.choice(ROOMS)}.",
            f"{who} gives the {thing} to {other}. Now {other} has the {thing}.",
            f"{who} asks {other} about {where}. {other} is {rng.choice(MOODS)}.",
            f"{who} sees {count} {rng.choice(ANIMALS)}s near {where}. {other} sees {count} too.",
            f"In the {rng.choice(TIMES)} {who} {act[0]} a {thing} and {other} {verb[0]} to {where}.",
            f"There is {rng.choice(WEATHER)} in {where} this {rng.choice(TIMES)}.",
            f"{who} meets {other} in the {rng.choice(ROOMS)}. {he} is {rng.choice(MOODS)}."))

    def scene(self):
        """The sentences of one scene: a few people and places, with all kinds of sentences mixed."""
        rng = self.rng
        cast = []
        for _ in range(rng.randrange(2, 5)):
            cast.append(rng.choices(self.people, self.weights)[0])
        cast = list(dict.fromkeys(cast))
        while len(cast) < 2:
            cast = list(dict.fromkeys(cast + [rng.choice(self.people)]))
        places = rng.sample(self.places, 2)
        key, filler = None, 0
        if rng.random() < 0.12 and self.pass_keys:
            key = draw_key(rng)
            yield passkey_sentence(key)
            filler = rng.randrange(0, 8)
        for _ in range(rng.randrange(10, 34)):
            dice = rng.random()
            if dice < 0.40:
                yield self.fact(rng.choice(cast))
            elif dice < 0.56:
                yield self.question(rng.choice(cast))
            elif dice < 0.64:
                yield self.place_fact(rng.choice(places))
            elif dice < 0.70:
                who = rng.choice(cast)
                yield f"{who} says, {rng.choice(self.proverbs)}."
            else:
                yield self.event(cast, places)
            if key and rng.random() < 0.2:
                yield GARBAGE
        if key:
            for _ in range(filler):
                yield GARBAGE
            yield f"{QUESTION} {key}."


def document(seed, size, unit="bytes", pass_keys=True):
    """A document of at least `size` bytes or words that ends with a whole sentence."""
    world = World(random.Random(f"longrope reference document {seed}"), pass_keys=pass_keys)
    sentences, have = [], 0
    while True:
        for sentence in world.scene():
            sentences.append(sentence)
            have += len(sentence) + 1 if unit == "bytes" else sentence.count(" ") + 1
            if have > size:
                return " ".join(sentences)


def main():
    parser = argparse.ArgumentParser(description="Writes documents of the procedural reference language.")
    parser.add_argument("--documents", type=int, default=1, help="how many documents (default 1)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--bytes", type=int, default=60000, help="least size of a document in bytes (default 60000)")
    size.add_argument("--words", type=int, help="least size of a document in words")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first; the others count on (default 1)")
    parser.add_argument("--no-pass-keys", action="store_true",
                        help="leave pass keys out: haystacks, where another key would be a second answer")
    parser.add_argument("--out", required=True, help="folder for the files SEED.txt")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    for seed in range(options.seed, options.seed + options.documents):
        text = document(f"file {seed}", options.words or options.bytes, "words" if options.words else "bytes",
                        not options.no_pass_keys)
        with open(os.path.join(options.out, f"{seed}.txt"), "w", encoding="ascii", newline="") as file:
            file.write(text)


if __name__ == "__main__":
    main()
