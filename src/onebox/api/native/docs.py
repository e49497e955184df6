"""The API's pages, with their scripts and styles served from here: an offline box has no CDN."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse, Response

from onebox.api.routing import Route
from onebox.core.errors import FileNotFound

router = APIRouter(route_class=Route, include_in_schema=False)

ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "redoc.standalone.js": "text/javascript",
}
# No picture is fetched: this is what browsers take for "no icon".
NO_ICON = "data:,"


@router.get("/docs")
async def swagger() -> HTMLResponse:
    return get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="Onebox API",
        swagger_js_url="/docs/assets/swagger-ui-bundle.js",
        swagger_css_url="/docs/assets/swagger-ui.css",
        swagger_favicon_url=NO_ICON,
    )


@router.get("/redoc")
async def redoc() -> HTMLResponse:
    return get_redoc_html(
        openapi_url="/openapi.json",
        title="Onebox API",
        redoc_js_url="/docs/assets/redoc.standalone.js",
        redoc_favicon_url=NO_ICON,
        with_google_fonts=False,
    )


@router.get("/openapi.json")
async def openapi(request: Request) -> JSONResponse:
    return JSONResponse(request.app.openapi())


@router.get("/docs/assets/{name}")
async def asset(name: str) -> Response:
    if name not in ASSETS:
        raise FileNotFound(f"there is no {name!r} here")
    headers = {"Cache-Control": "public, max-age=86400"}
    return Response(_static(name).read_bytes(), media_type=ASSETS[name], headers=headers)


def _static(name: str) -> Traversable:
    return files("fastapi_offline") / "static" / name
