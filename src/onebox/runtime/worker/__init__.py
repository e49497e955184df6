"""The worker: owns one device and everything that runs on it.

`python -m onebox.runtime.worker` is one.
"""
