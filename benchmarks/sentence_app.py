"""sentence-transformers behind a plain FastAPI route: `python sentence_app.py MODEL PORT THREADS`.

Runs in an environment of its own; see `benchmarks.embeddings`.
"""

import sys

import torch
import uvicorn
from fastapi import FastAPI  # noqa: TID251  # a peer, no part of Onebox
from sentence_transformers import SentenceTransformer


def create_app(folder: str, threads: int) -> FastAPI:
    torch.set_num_threads(threads)
    model = SentenceTransformer(folder, device="cpu")
    app = FastAPI()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/embeddings")
    def embeddings(body: dict) -> dict:
        vectors = model.encode(body["input"], normalize_embeddings=True)
        data = [{"index": i, "embedding": row.tolist()} for i, row in enumerate(vectors)]
        return {"data": data}

    return app


if __name__ == "__main__":
    uvicorn.run(
        create_app(sys.argv[1], int(sys.argv[3])),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        log_level="error",
    )
