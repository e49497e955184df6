"""The starter model `onebox-shapes`: its drawings, its checker and its training."""
