"""How the tables of `onebox.db` came to be, step by step, by alembic.

A new step is a file in `versions/` with the next number; `HEAD` names the newest.
"""

HEAD = "0005"
