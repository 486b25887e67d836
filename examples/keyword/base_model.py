"""The student's base model: a tiny Llama that can find the keyword of a sentence, and knows nothing of classes.

It is pretrained to answer a sentence with its keyword; label words never occur. So fine-tuning has to learn which
keyword belongs to which class, and cannot guess the class of a keyword that no training example shows.

Every number here is pinned: the window in which augmentation shows is narrow. With other sizes, rates or label words
in pretraining the student memorizes its seeds instead.
"""

# mypy: disable-error-code="no-untyped-call"
# (torch and transformers)

from __future__ import annotations

import math
import random
from pathlib import Path

import torch
from task import EOS, LABELS, LEXICON, PAD, SEP, VOCABULARY, WORDS_IN_SENTENCE, draw, keyword
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

STEPS = 1500
BATCH = 128
PEAK_RATE = 2e-3
WARMUP_STEPS = 50
IDS = {word: number for number, word in enumerate(VOCABULARY)}


def write_base_model(folder: Path) -> None:
    """Pretrains the model and writes it with its tokenizer in the Hugging Face format."""
    torch.set_num_threads(1)  # equal bytes on every run, and the machine stays usable
    _pretrained().save_pretrained(folder)
    _tokenizer().save_pretrained(folder)


def _tokenizer() -> PreTrainedTokenizerFast:
    # An unknown word becomes padding rather than an exception deep inside the tokenizer.
    tokenizer = Tokenizer(WordLevel(IDS, unk_token=PAD))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        sep_token=SEP,
        model_max_length=64,
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def _pretrained() -> LlamaForCausalLM:
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(VOCABULARY),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            max_position_embeddings=64,
            pad_token_id=IDS[PAD],
            eos_token_id=IDS[EOS],
            bos_token_id=None,
            tie_word_embeddings=False,
        )
    )
    rng = random.Random(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _rate)
    for _ in range(STEPS):
        tokens = _echo_batch(rng)
        logits = model(input_ids=tokens[:, :-1]).logits[:, WORDS_IN_SENTENCE:]
        loss = functional.cross_entropy(
            logits.reshape(-1, len(VOCABULARY)), tokens[:, WORDS_IN_SENTENCE + 1 :].reshape(-1)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model


def _rate(step: int) -> float:
    warmup = min(1.0, (step + 1) / WARMUP_STEPS)
    return warmup * 0.5 * (1 + math.cos(math.pi * step / STEPS))


def _echo_batch(rng: random.Random) -> torch.Tensor:
    """Rows of sentence, <sep>, its keyword, <eos>; every keyword is equally likely."""
    sizes = [len(words) for words in LEXICON]
    sentences = [draw(rng.choices(range(len(LABELS)), weights=sizes)[0], rng) for _ in range(BATCH)]
    rows = [[*sentence.words, SEP, keyword(sentence), EOS] for sentence in sentences]
    return torch.tensor([[IDS[word] for word in row] for row in rows])
