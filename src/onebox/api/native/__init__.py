"""Onebox's own routes."""
