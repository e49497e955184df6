"""The checkpoints in the model folders: their identity, what they are, what they are called."""

from onebox.registry.hash_store import HashStore
from onebox.registry.on_disk import open_on_disk
from onebox.registry.registry import Registry

__all__ = ["HashStore", "Registry", "open_on_disk"]
