"""Set-up: from any Python 3.8+ to a process that has every package, or a plain word why not.

Standard library only, and parseable by Python 3.8: this code runs before anything is installed.
The path: launch -> requirements (is all here?) -> environment (use, update or rebuild .venv?)
-> interpreter, torch_build, venv, install -> process (become the environment's Python).
"""
