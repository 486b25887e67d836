"""Makes a tiny student for the tutorial, so that a whole run takes minutes on one core: `python student.py FOLDER`.

It knows the words of tickets.csv and nothing else: its weights are random, and the adapter alone has to learn the task.
For your own rows take a pretrained model, as `llm2llm init` proposes.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

import torch
from make import WEIGHTS
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent
SPECIAL = ("<pad>", "<eos>", "<unk>")


def words() -> list[str]:
    """Returns the words that come at least twice, and the queues; numbers are one word."""
    text = (HERE / "tickets.csv").read_bytes().decode("cp1252").lower()
    counts = Counter(re.findall(r"\w+|[^\w\s]", re.sub(r"\d+", "0", text)))
    frequent = sorted(word for word, count in counts.items() if count > 1)
    return list(dict.fromkeys([*SPECIAL, *WEIGHTS, "subject", "text", "queue", *frequent]))


def main() -> None:
    folder = Path(sys.argv[1])
    vocabulary = {word: number for number, word in enumerate(words())}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(Regex(r"\d+"), "0")])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(str(folder))
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=512,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
            tie_word_embeddings=False,
            initializer_range=0.05,
        )
    ).save_pretrained(str(folder))
    print(f"{folder}: a student with {len(vocabulary)} words")


if __name__ == "__main__":
    main()
