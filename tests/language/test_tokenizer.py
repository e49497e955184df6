"""Text to tokens and back: exact bytes, ends of an answer, and one load however many ask."""

from __future__ import annotations

import threading

import pytest

from onebox.core.contracts import Entry
from onebox.core.errors import ModelBroken
from onebox.language.prompts.text_tokenizer import TextTokenizer
from onebox.language.prompts.tokenizer import TokenizerStore, load_tokenizer, tokenizer_of
from tests.language.small_tokenizers import (
    CHATML,
    CORPUS,
    LLAMA3,
    byte_level,
    entry_of,
    sentencepiece,
    text_tokenizer,
    wordpiece,
    wrapped,
    write_json,
)

TEXTS = [
    "Hello world",
    "naïve café é",
    "👩‍👩‍👧 🇫🇷 🤷🏽",
    "你好世界",
    "  two  spaces\n\ttabs\r\n",
    "<0x41> ▁ Ġ ##x",
    "\x00\x7f\u2028",
    "",
]


@pytest.fixture(scope="module")
def byte_tokenizer() -> TextTokenizer:
    return text_tokenizer(byte_level())


@pytest.mark.parametrize("text", TEXTS)
def test_the_bytes_of_byte_level_tokens_add_up_to_the_text(byte_tokenizer, text):
    ids = byte_tokenizer.encode(text, special=False)
    assert b"".join(map(byte_tokenizer.token_bytes, ids)) == text.encode()
    assert byte_tokenizer.decode(ids) == text


@pytest.mark.parametrize("scheme", ["first", "always", "never", None])
@pytest.mark.parametrize("text", TEXTS)
def test_the_bytes_of_sentencepiece_tokens_add_up_to_the_text(scheme, text):
    tokenizer = text_tokenizer(sentencepiece(scheme))
    ids = tokenizer.encode(text, special=False)
    found = b"".join(map(tokenizer.token_bytes, ids))
    # What is in the text as the mark itself comes back as the space that it stands for.
    meant = text.replace("▁", " ").encode()
    assert found in (meant, b" " + meant)


def test_the_bytes_of_word_pieces_add_up_to_words():
    tokenizer = text_tokenizer(wordpiece())
    ids = tokenizer.encode("hello world!", special=False)
    assert b"".join(map(tokenizer.token_bytes, ids)) == b" hello world !"


def test_a_tokenizer_written_in_python_works_too(tmp_path):
    from transformers import CTRLTokenizer

    write_json(tmp_path / "vocab.json", {"<unk>": 0, "wor@@": 1, "ld": 2, "hello": 3, "<": 4})
    (tmp_path / "merges.txt").write_text(
        "#version\nw o\nwo r\nl d</w>\nh e\nl l\nhe ll\nhell o</w>\n"
    )
    slow = CTRLTokenizer(str(tmp_path / "vocab.json"), str(tmp_path / "merges.txt"))
    slow.add_special_tokens({"eos_token": "<e>"})
    tokenizer = TextTokenizer(slow)
    assert tokenizer.backend is None
    ids = tokenizer.encode("hello world", special=False)
    assert ids == [3, 1, 2]
    assert b"".join(map(tokenizer.token_bytes, ids)) == b"hello world "
    assert tokenizer.decode(ids) == "hello world"
    (end,) = tokenizer.eos_ids
    assert tokenizer.encode("hello<e>", special=False) == [3, end]
    assert end not in tokenizer.encode_marked("hello<e>", [(5, 8)])
    assert tokenizer.encode_marked("hello<e>hello", [(5, 8)])[-1] == 3


def test_a_tokenizer_of_sentencepiece_works_too(tmp_path):
    import sentencepiece
    from transformers import GPTSw3Tokenizer

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 9),
        model_prefix=str(tmp_path / "spiece"),
        vocab_size=330,
        byte_fallback=True,
        model_type="bpe",
        minloglevel=2,
    )
    slow = GPTSw3Tokenizer(str(tmp_path / "spiece.model"), eos_token="</s>", bos_token="<s>")
    tokenizer = TextTokenizer(slow)
    assert tokenizer.backend is None
    for text in ("Hello world", "naïve café", "👩‍👩‍👧 🇫🇷", "你好世界"):
        ids = tokenizer.encode(text, special=False)
        assert b"".join(map(tokenizer.token_bytes, ids)).lstrip() == text.encode()
        assert tokenizer.decode(ids) == text
    (end,) = tokenizer.eos_ids
    text = "Hello</s>world"
    assert end in tokenizer.encode(text, special=False)
    ids = tokenizer.encode_marked(text, [(5, 9)])
    assert end not in ids
    assert b"".join(map(tokenizer.token_bytes, ids)).replace(b" ", b"") == text.encode()


def test_special_tokens_and_ids_without_a_token_have_no_bytes(byte_tokenizer):
    end = byte_tokenizer.token_id("<|im_end|>")
    call = byte_tokenizer.token_id("<tool_call>")
    assert byte_tokenizer.is_special(end)
    assert byte_tokenizer.token_bytes(end) == b""
    assert byte_tokenizer.token_text(end) == "<|im_end|>"
    assert byte_tokenizer.decode([end]) == ""
    assert byte_tokenizer.decode([end], skip_special=False) == "<|im_end|>"
    assert not byte_tokenizer.is_special(call)
    assert byte_tokenizer.token_bytes(call) == b"<tool_call>"
    for id_ in (-1, byte_tokenizer.vocab_size, 10**9):
        assert byte_tokenizer.token_bytes(id_) == b""
        assert not byte_tokenizer.is_special(id_)
    assert byte_tokenizer.token_id("no such token") is None


def test_a_tokenizer_that_would_cut_or_pad_texts_does_not():
    backend = byte_level()
    backend.enable_truncation(4)
    backend.enable_padding(length=8)
    assert len(text_tokenizer(backend).encode("x" * 100, special=False)) > 8
    assert len(text_tokenizer(backend).encode("x", special=False)) == 1


@pytest.mark.parametrize(
    ("template", "declared", "ends"),
    [
        (CHATML, [], {"</s>", "<|im_end|>"}),
        (CHATML, ["<|im_end|>"], {"</s>", "<|im_end|>"}),
        (LLAMA3, [], {"</s>", "<|eot_id|>"}),
        # The configuration names an end that the template uses: it is not told better.
        (CHATML + "<|eot_id|>", ["<|eot_id|>"], {"</s>", "<|eot_id|>"}),
        ("{{ messages[0].content + eos_token }}<|im_end|>", [], {"</s>"}),
        (None, [], {"</s>"}),
    ],
)
def test_an_answer_ends_with_what_ends_a_turn(template, declared, ends):
    made = wrapped(byte_level(), template)
    ids = made.convert_tokens_to_ids(declared)
    found = TextTokenizer(made, ids).eos_ids
    assert found == frozenset(made.convert_tokens_to_ids(sorted(ends)))


def test_a_conversation_with_tools_has_a_template_of_its_own_where_there_is_one():
    tokenizer = text_tokenizer(byte_level(), {"default": "a", "tool_use": "b"})
    assert tokenizer.chat_template == "a"
    assert tokenizer.template_for(tools=True) == "b"
    assert text_tokenizer(byte_level(), "a").template_for(tools=True) == "a"
    assert text_tokenizer(byte_level()).chat_template is None


def test_a_folder_gives_its_tokenizer_with_the_ends_of_its_configuration(tmp_path):
    wrapped(byte_level(), CHATML).save_pretrained(tmp_path)
    write_json(tmp_path / "config.json", {"model_type": "llama", "eos_token_id": 9})
    tokenizer = load_tokenizer(entry_of(tmp_path))
    assert tokenizer.chat_template == CHATML
    assert tokenizer.eos_ids == {tokenizer.token_id("</s>"), tokenizer.token_id("<|im_end|>"), 9}
    write_json(tmp_path / "generation_config.json", {"eos_token_id": [4, 7]})
    assert load_tokenizer(entry_of(tmp_path)).eos_ids == {tokenizer.token_id("</s>"), 4, 7}


def test_files_that_make_no_tokenizer_are_a_broken_model(tmp_path):
    write_json(tmp_path / "tokenizer.json", {"version": "1.0"})
    with pytest.raises(ModelBroken, match="cannot be loaded"):
        tokenizer_of(entry_of(tmp_path, "broken"))


def test_a_tokenizer_is_loaded_once_however_many_ask():
    gate, loads = threading.Event(), []

    def load(entry: Entry) -> TextTokenizer:
        loads.append(entry.key)
        gate.wait(60)
        return made

    made = text_tokenizer(byte_level())
    store = TokenizerStore(load)
    entry = Entry("a", "a", "a", "", 0, "ready")
    found: list[TextTokenizer] = []
    threads = [threading.Thread(target=lambda: found.append(store.get(entry))) for _ in range(5)]
    for thread in threads:
        thread.start()
    gate.set()
    for thread in threads:
        thread.join()
    assert found == [made] * 5
    assert loads == ["a"]


def test_the_store_keeps_the_tokenizers_used_last_and_forgets_failures():
    loads: list[str] = []

    def load(entry: Entry) -> TextTokenizer:
        loads.append(entry.key)
        if entry.key == "broken":
            raise ModelBroken("broken")
        return made

    made = text_tokenizer(byte_level())
    store = TokenizerStore(load, kept=2)
    for key in ("a", "b", "a", "c", "a", "b"):
        store.get(Entry(key, key, key, "", 0, "ready"))
    assert loads == ["a", "b", "c", "b"]
    for _ in range(2):
        with pytest.raises(ModelBroken):
            store.get(Entry("broken", "x", "x", "", 0, "ready"))
    assert loads[-2:] == ["broken", "broken"]
