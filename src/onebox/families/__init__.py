"""How each kind of checkpoint is recognised, sized and loaded.

One file a family; torch only inside functions.
"""
