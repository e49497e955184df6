"""Which familiar routes are there: those of the families that the settings name."""

from __future__ import annotations

from collections.abc import Collection

from fastapi import APIRouter

from onebox.api.compat import (
    generate,
    studio_pictures,
    studio_sound,
    studio_texts,
    studio_videos,
    try_on,
)


def create_routers(families: Collection[str]) -> list[APIRouter]:
    routers = [generate.create_router(families)]
    if "studio" in families:
        for part in (studio_pictures, studio_texts, studio_sound, studio_videos):
            routers.append(part.create_router())
    if "tryon" in families:
        routers.append(try_on.create_router())
    return routers
