"""From a text to what the language model is given: token ids per chunk, and how long each may run.

Text preparation and chunking, with the reference's results on any input. Knows nothing of files,
audio or models.
"""

import logging
import math
import re
from dataclasses import dataclass

from ptts_jax.model.config import Config, TextRules
from ptts_jax.text.tokenizer import Tokenizer

MAX_TOKENS = 50  # of a chunk; the models were trained on single sentences
MAX_LETTERS = 80  # of one that could not be cut, where a token is a letter
FEW_TOKENS = 256  # a tokenizer that knows fewer knows letters alone
ENDLESS = 500  # tokens of a chunk; the reference goes on, and memory runs out

_FINAL = ".!?…"
_WEAK = ",;:-–—"
_CLOSERS = "\"'”’)]»"
_SENTENCE_ENDS = ".!...?"
_CLAUSE_ENDS = ",;:"

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prompt:
    """A text as the tokenizer wants it, and a guess of the frames that follow its end."""

    text: str
    frames_after_eos: int


def prepare(text: str, rules: TextRules) -> Prompt:
    """Mend spaces, characters, the first letter and the final punctuation, as the rules say."""
    text = text.strip()
    if rules.replace_characters:
        text = " ".join(text.translate(str.maketrans(dict(rules.replace_characters))).split())
        # Where a quote went, "Hi?", is left as Hi?, with two marks: the sentence's own stays.
        text = re.sub(rf"([{_FINAL}])\s*[,;:]", r"\1", text)
    if not text:
        raise ValueError("the text is empty: there is nothing to say")
    text = text.replace("\n", " ").replace("\r", " ").replace("  ", " ")
    if rules.remove_semicolons:
        text = text.replace(";", ",")
    frames = 3 if len(text.split()) <= 4 else 1
    if rules.capitalize_first_letter and not text[0].isupper():
        text = text[0].upper() + text[1:]
    if rules.append_terminal_punctuation:
        text = _finished(text)
    if rules.pad_with_spaces_for_short_inputs and len(text.split()) < 5:
        text = " " * 8 + text  # very few tokens are spoken badly
    return Prompt(text, frames)


def _finished(text: str) -> str:
    """The text with a final mark: the models often stumble over a last word without one."""
    core = text.rstrip(_CLOSERS + " ")
    if not core or core[-1] in _FINAL:
        return text
    if core[-1] in _WEAK:
        return core.rstrip(_WEAK + " ") + "." + text[len(core) :].strip()
    return text + "."  # behind a closing quote: the splitter knows only a bare full stop


def split(text: str, tokenizer: Tokenizer, rules: TextRules, max_tokens: int) -> list[str]:
    """Chunks of whole sentences of up to `max_tokens`; longer sentences are cut at commas."""
    tokens = tokenizer.encode(prepare(text, rules).text.strip())
    starts = _starts(tokens, tokenizer.encode(_SENTENCE_ENDS)[1:])
    starts = [at for at in starts if not _in_number(tokens, at, tokenizer)]
    commas = tokenizer.encode(_CLAUSE_ENDS)[1:]
    segments = []
    for count, sentence in _segments(tokens, starts, tokenizer):
        parts = []
        if count > max_tokens:
            inner = tokenizer.encode(sentence.strip())
            parts = _segments(inner, _starts(inner, commas), tokenizer)
        segments += parts if len(parts) > 1 else [(count, sentence)]
    return _grouped(segments, max_tokens)


def _bearable(part: str, tokenizer: Tokenizer, max_tokens: int) -> list[str]:
    """A chunk without end is cut between words, and a word without end anywhere."""
    if len(tokenizer.encode(part)) <= ENDLESS:
        return [part]
    words = (w[at : at + max_tokens] for w in part.split() for at in range(0, len(w), max_tokens))
    return _grouped([(len(tokenizer.encode(word)), word) for word in words], max_tokens)


def _starts(tokens: list[int], ends: list[int]) -> list[int]:
    """Where a segment starts: at the first token behind one or more of `ends`."""
    marks = set(ends)
    return [i for i in range(1, len(tokens)) if tokens[i - 1] in marks and tokens[i] not in marks]


def _segments(tokens: list[int], starts: list[int], tokenizer: Tokenizer) -> list[tuple[int, str]]:
    """(number of tokens, text) from each start to the next."""
    bounds = [0, *starts, len(tokens)]
    pairs = zip(bounds[:-1], bounds[1:], strict=True)
    return [(end - start, tokenizer.decode(tokens[start:end])) for start, end in pairs]


def _grouped(segments: list[tuple[int, str]], max_tokens: int) -> list[str]:
    groups: list[list[str]] = []
    current: list[str] = []
    total = 0
    for count, text in segments:
        if current not in ([], [""]):
            if total + count <= max_tokens:
                current.append(text)
                total += count
                continue
            groups.append(current)
        current, total = [text], count
    return [" ".join(group).strip() for group in [*groups, current] if group not in ([], [""])]


def _in_number(tokens: list[int], at: int, tokenizer: Tokenizer) -> bool:
    """Whether `at` is just behind the point of a decimal number, as the texts on both sides say.

    Decoding all of both sides would make long texts quadratic, so only a window is decoded. It ends
    where a run of byte pieces ends, since half a run decodes differently (one wrong byte can spoil
    all of it), and holds enough text for what decoders do at the edge of a text (drop a space, half
    a character) not to reach the point.
    """

    def inside(i: int) -> bool:
        return tokenizer.piece(tokens[i]).startswith("<0x")

    def window(step: int, edge: int) -> str:
        size, text, end = 8, "", at
        while len(text) < 8 and end != edge:
            end = min(len(tokens), at + size) if step > 0 else max(0, at - size)
            while end != edge and inside(end):
                end += step
            text = tokenizer.decode(tokens[at:end] if step > 0 else tokens[end:at])
            size *= 2
        return text

    before = window(-1, 0)
    if len(before) < 2 or before[-1] != "." or not before[-2].isdigit():
        return False
    after = window(1, len(tokens))
    return after != "" and after[0].isdigit()


def max_frames(token_count: int, frame_rate: float) -> int:
    """The most frames that a text of so many tokens may take: 3 tokens a second, and 2 seconds."""
    return math.ceil((token_count / 3.0 + 2.0) * frame_rate)


@dataclass(frozen=True)
class Chunk:
    """What generation needs of one chunk."""

    text: str
    tokens: tuple[int, ...]
    frames_after_eos: int
    max_frames: int


def longest_chunk(config: Config) -> int:
    """Tokens of a chunk that a model says well, whether it is cut or not."""
    return MAX_LETTERS if config.flow_lm.lookup_table.n_bins < FEW_TOKENS else MAX_TOKENS


def chunks(
    text: str,
    tokenizer: Tokenizer,
    config: Config,
    max_tokens: int | None = None,
    frames_after_eos: int | None = None,
) -> list[Chunk]:
    """The whole way. `frames_after_eos` goes before the model's own number, that before a guess."""
    bearable = max_tokens or longest_chunk(config)
    max_tokens = max_tokens or MAX_TOKENS
    chosen = frames_after_eos
    if chosen is None:
        chosen = config.model_recommended_frames_after_eos
    parts = split(text, tokenizer, config.text_rules, max_tokens)
    found = []
    for piece in (p for part in parts for p in _bearable(part, tokenizer, max_tokens)):
        prompt = prepare(piece, config.text_rules)
        tokens = tokenizer.encode(prompt.text)
        frames = prompt.frames_after_eos + 2 if chosen is None else chosen
        limit = max_frames(len(tokens), config.mimi.frame_rate)
        found.append(Chunk(prompt.text, tuple(tokens), frames, limit))
    if not all(chunk.tokens for chunk in found) or not found:
        raise ValueError("the text has nothing that the model's tokenizer knows")
    longest = max(found, key=lambda chunk: len(chunk.tokens))
    if len(longest.tokens) > bearable * 6 // 5:
        short, count = f"{longest.text:.40}...", len(longest.tokens)
        _log.warning("%d tokens without a break: words may be skipped in %r", count, short)
    return found


def check_speakable(text: str) -> None:
    """Refuse a text that only a mistake can have given: no letter or digit of any script."""
    if not isinstance(text, str):
        raise ValueError(f"the text must be a str, not {type(text).__name__}")
    if not text.strip():
        raise ValueError("the text is empty: there is nothing to say")
    if not any(character.isalnum() for character in text):
        raise ValueError("the text holds no letter or digit: there is nothing to say")
