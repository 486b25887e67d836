"""A package named vllm whose server answers at once, or ends as it is told: for how a step treats its child."""

from __future__ import annotations

from pathlib import Path

SERVER = """
import json, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

print("loading the model", flush=True)
mode, answered = os.environ.get("STUB", ""), count(1)
if mode == "out-of-memory":
    sys.exit("torch.OutOfMemoryError: CUDA out of memory")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.reply(503 if mode == "never-ready" else 200, {})

    def do_POST(self):
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["Authorization"] != "Bearer " + os.environ["VLLM_API_KEY"]:
            return self.reply(401, {"error": {"message": "no"}})
        if mode == "no-system" and json.loads(asked)["messages"][0]["role"] == "system":
            return self.reply(400, {"error": {"message": "System role not supported", "code": 400}})
        number = next(answered)
        if mode == "dies" and number > 5:
            print("CUDA error: an illegal memory access was encountered", flush=True)
            os._exit(1)
        row = json.dumps({"prompt": f"{number} " + str(hash(asked))})
        choice = {"index": 0, "message": {"role": "assistant", "content": row}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        self.reply(200, {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice],
                         "usage": usage})

    def reply(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


def write_stub(folder: Path, *, missing: bool = False) -> str:
    """Writes it; the folder for PYTHONPATH. Where `missing`, importing it fails as if it were not installed."""
    package = folder / "vllm"
    (package / "entrypoints" / "openai").mkdir(parents=True)
    for level in (package, package / "entrypoints", package / "entrypoints" / "openai"):
        (level / "__init__.py").write_text("")
    if missing:
        (package / "__init__.py").write_text("raise ModuleNotFoundError(\"No module named 'vllm'\", name='vllm')")
    (package / "entrypoints" / "openai" / "api_server.py").write_text(SERVER)
    return str(folder)


def write_bare_model(folder: Path) -> Path:
    """A teacher whose weights are none."""
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    (folder / "weights.safetensors").write_bytes(b"none")
    return folder
