"""What families, tasks and routes share about sound: decoding uploads, cutting speech into windows,
transcripts, and text made ready to be spoken.
"""
