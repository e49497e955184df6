"""What families of speech models load."""

from __future__ import annotations

from onebox.audio.transcription.contracts import Transcriber


class TranscriberBundle:
    """One loaded model that hears; its transcriber owns the weights."""

    def __init__(self, transcriber: Transcriber) -> None:
        self.transcriber = transcriber
        self.size_bytes = transcriber.size_bytes

    def close(self) -> None:
        self.transcriber.close()
