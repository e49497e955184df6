"""One way to transcribe, in a process and with an interpreter of its own.

    PYTHON speech_peer.py faster-whisper|faster-whisper-batched|transformers MODEL THREADS

Loads the model and says `{"ready": true}`; then for each line with the path of a sound file on its
standard input one line `{"seconds": …, "text": …}`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

BATCH = 8


def faster_whisper(model: str, threads: int) -> Callable[[str], str]:
    """Sequential, float32, greedy, all else as it is by default."""
    from faster_whisper import WhisperModel

    loaded = WhisperModel(model, device="cpu", compute_type="float32", cpu_threads=threads)

    def transcribe(file: str) -> str:
        segments, _ = loaded.transcribe(file, beam_size=1, language="en")
        return "".join(segment.text for segment in segments)

    return transcribe


def faster_whisper_batched(model: str, threads: int) -> Callable[[str], str]:
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    loaded = WhisperModel(model, device="cpu", compute_type="int8", cpu_threads=threads)
    pipeline = BatchedInferencePipeline(loaded)

    def transcribe(file: str) -> str:
        segments, _ = pipeline.transcribe(file, beam_size=1, batch_size=BATCH, language="en")
        return "".join(segment.text for segment in segments)

    return transcribe


def transformers(model: str, threads: int) -> Callable[[str], str]:
    """Its sequential long form, float32."""
    import av
    import numpy as np
    import torch
    from transformers import pipeline
    from transformers.utils import logging

    logging.set_verbosity_error()
    torch.set_num_threads(threads)
    made = pipeline("automatic-speech-recognition", model=model, dtype=torch.float32)

    def transcribe(file: str) -> str:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=16_000)
        with av.open(file) as container:
            frames = [
                one for frame in container.decode(audio=0) for one in resampler.resample(frame)
            ]
        sound = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        found = made({"raw": sound, "sampling_rate": 16_000}, return_timestamps=True)
        return str(found["text"])

    return transcribe


WAYS = {
    "faster-whisper": faster_whisper,
    "faster-whisper-batched": faster_whisper_batched,
    "transformers": transformers,
}


def main() -> None:
    name, model, threads = sys.argv[1:]
    transcribe = WAYS[name](model, int(threads))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        started = time.perf_counter()
        text = transcribe(line.rstrip("\n"))
        seconds = time.perf_counter() - started
        print(json.dumps({"seconds": seconds, "text": text}), flush=True)


if __name__ == "__main__":
    main()
