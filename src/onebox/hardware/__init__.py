"""What this machine computes with: devices, their dtypes, memory and threads.

Importing it imports no torch; only `backend` does, when it is asked to look.
"""
