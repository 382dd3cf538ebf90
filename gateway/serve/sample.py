"""An OpenID provider and an upstream for demonstrations; neither is for production."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import orjson
from quart import Quart, Response, request

from gateway.jose.sign import SigningKey, public_jwks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from gateway.serve.asgi import App


def issuer_app(url: Callable[[], str], keys: Sequence[SigningKey]) -> App:
    """Discovery and key set of the issuer at `url` (OpenID Connect Discovery 1.0)."""
    app = Quart("gateway.sample.issuer", static_folder=None)

    @app.get("/.well-known/openid-configuration")
    async def discovery() -> Response:
        return _json({"issuer": url(), "jwks_uri": f"{url()}/jwks.json"})

    @app.get("/jwks.json")
    async def jwks() -> Response:
        return _json(public_jwks(keys))

    return cast("App", app.asgi_app)


def upstream_app() -> App:
    """Answers every request with what it received, as JSON."""
    app = Quart("gateway.sample.upstream", static_folder=None)

    @app.route("/", defaults={"path": ""}, methods=METHODS)
    @app.route("/<path:path>", methods=METHODS)
    async def echo(path: str) -> Response:  # noqa: ARG001  Quart's signature
        return _json(
            {
                "method": request.method,
                "path": request.scope["raw_path"].decode("latin-1"),
                "headers": {name.lower(): _lines(name) for name, _ in request.headers},
                "body": await request.get_data(as_text=True),
            }
        )

    return cast("App", app.asgi_app)


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


def _lines(name: str) -> str | list[str]:
    """A header's value; of several lines, each."""
    values = request.headers.getlist(name)
    return values if len(values) > 1 else values[0]


def _json(value: Mapping[str, Any]) -> Response:
    return Response(orjson.dumps(value) + b"\n", content_type="application/json")
