"""English words by what they tell of the word beside them, for `homographs`."""

from __future__ import annotations

PAUSES = frozenset(".,;:!?()")
ADVERBS = frozenset({
    "also", "always", "already", "ever", "even", "just", "never", "not", "often", "only",
    "still", "then",
})  # fmt: skip
PRONOUNS = frozenset({
    "i", "you", "we", "they", "i'll", "you'll", "we'll", "they'll", "he'll", "she'll", "it'll",
    "let's",
})  # fmt: skip
BEFORE_VERB = PRONOUNS | frozenset({
    "to", "will", "would", "can", "could", "may", "might", "must", "shall", "should", "cannot",
    "do", "does", "did", "please", "don't", "doesn't", "didn't", "won't", "wouldn't", "can't",
    "couldn't", "shouldn't", "mustn't", "who", "who'll",
})  # fmt: skip
DETERMINERS = frozenset({
    "a", "an", "the", "this", "these", "those", "my", "your", "his", "her", "its", "our",
    "their", "no", "any", "some", "every", "each", "another",
})  # fmt: skip
BEFORE_NOUN = DETERMINERS | frozenset({
    "about", "as", "at", "by", "for", "from", "in", "into", "of", "on", "per", "under", "with",
    "without",
})  # fmt: skip
# What a verb is followed by and a noun hardly ever.
OBJECTS = frozenset({
    "the", "a", "an", "this", "these", "those", "my", "your", "his", "her", "its", "our",
    "their", "it", "them", "him", "me", "us", "everyone", "everything", "something", "anything",
})  # fmt: skip
BE = frozenset({
    "am", "is", "are", "was", "were", "be", "been", "being", "i'm", "you're", "we're",
    "they're", "he's", "she's", "it's", "that's", "who's", "feel", "feels", "felt", "seem",
    "seems", "seemed", "remain", "remains", "remained",
})  # fmt: skip
HAVE = frozenset({
    "have", "has", "had", "having", "i've", "you've", "we've", "they've", "i'd", "he's",
    "she's", "haven't",
})  # fmt: skip
THIRD = frozenset({
    "he", "she", "it", "who", "which", "everyone", "everybody", "nobody", "someone",
})  # fmt: skip
PAST_TIMES = frozenset({"yesterday", "ago", "last", "earlier", "once"})
AFTER_NOUN = frozenset({
    "", "of", "by", "in", "on", "at", "is", "was", "are", "were", "has", "had", "and", "or",
    "for", "as", "among", "will", "can", "could", "may",
})  # fmt: skip
SHOWN = frozenset({
    "go", "goes", "going", "went", "gone", "aired", "broadcast", "streamed", "perform",
    "performed",
})  # fmt: skip
SAVED = frozenset({
    "save", "saves", "saved", "saving", "lose", "loses", "lost", "cost", "costs", "claim",
    "claimed", "change", "changes", "changed", "many", "more", "most", "human", "people's",
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
})  # fmt: skip
PLACES = frozenset({
    "in", "at", "near", "with", "on", "by", "here", "there", "alone", "together", "under",
    "for", "like", "through", "up", "out", "off", "longer", "among", "between", "around",
    "across", "where", "next", "without", "within", "abroad", "happily", "and", "or",
})  # fmt: skip
APART = frozenset({
    "apart", "down", "off", "open", "out", "through", "up",
})  # fmt: skip
METAL = frozenset({
    "pipe", "pipes", "paint", "poisoning", "acid", "batteries", "battery", "shot", "bullet",
    "weights",
})  # fmt: skip
TINY = frozenset({
    "detail", "details", "amount", "amounts", "quantity", "quantities", "particles", "traces",
})  # fmt: skip
