"""The starter models: how `onebox-shapes` was made, and how the others are fetched."""
