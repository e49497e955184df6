"""What lies in a text model's folder, and how it is loaded."""
