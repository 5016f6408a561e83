"""The addresses of a served run: a page, its files, /predict, /model, /openapi.json, /health."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from engine.export import card
from engine.serve import openapi, reading
from engine.serve.batches import Batches
from engine.serve.limits import Rate
from engine.serve.model import SIZES, Model
from engine.serve.refused import Refused

PAGE = Path(__file__).parent / "page"
SECONDS = 30  # within which a body has to arrive
DECODED = 4  # bodies that are read at once, so that their pixels fit the memory
HEADERS = {
    "Content-Security-Policy":
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin", "Cache-Control": "no-store",
}


def of(model: Model, rate: int, hosts: list[str]) -> Starlette:
    """The application; it answers those who call it by one of the names `hosts`, "*" any."""
    batches, limit, decoding = Batches(model.predict, SIZES[-1]), Rate(rate), \
        asyncio.Semaphore(DECODED)

    async def predict(request: Request) -> Response:
        limit.take(request.client.host if request.client else "")
        body = await _body(request)
        async with decoding:
            inputs, notes = await run_in_threadpool(
                reading.read, model, request.headers.get("content-type", ""), body)
        predicted = await batches.predict(inputs)
        return JSONResponse({"predictions": model.told(predicted), "notes": notes})

    async def described(_: Request) -> Response:
        return JSONResponse(card.about(model.run))

    async def api(_: Request) -> Response:
        return JSONResponse(openapi.of(model))

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    @contextlib.asynccontextmanager
    async def working(_: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(batches.work())
        yield
        task.cancel()

    files = {"/": "page.html", "/page.css": "page.css", "/page.js": "page.js",
             "/icon.svg": "icon.svg"}
    routes = [Route(path, _file(PAGE / name)) for path, name in files.items()]
    routes += [Route("/predict", predict, methods=["POST"]), Route("/model", described),
               Route("/openapi.json", api), Route("/health", health)]
    return Starlette(
        routes=routes, lifespan=working,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts), Middleware(_Headed)],
        exception_handlers={Refused: _refused, 404: _unknown, 405: _unknown, 500: _failed})


def _file(path: Path) -> Callable[[Request], Awaitable[Response]]:
    async def sent(_: Request) -> Response:
        return FileResponse(path)

    return sent


async def _body(request: Request) -> bytes:
    """Raises Refused for one that is too large, 413, or doesn't arrive, 408."""
    said = request.headers.get("content-length", "0")
    large = Refused(413, f"the body has more than {reading.MOST_BYTES:,} bytes: send a smaller "
                         "one.")
    if said.isdecimal() and int(said) > reading.MOST_BYTES:
        raise large
    body = bytearray()
    try:
        async with asyncio.timeout(SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > reading.MOST_BYTES:
                    raise large
    except (TimeoutError, ClientDisconnect):
        raise Refused(408, f"the body did not arrive within {SECONDS} s.") from None
    if not body:
        raise Refused(422, "the body is empty: send what is to be predicted.")
    return bytes(body)


class _Headed:
    """Every answer with HEADERS."""

    def __init__(self, app: Any):
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def headed(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
                message["headers"] = [*message["headers"], *own]
            await send(message)

        await self._app(scope, receive, headed)


def _answer(status: int, message: str) -> JSONResponse:
    again = {"Retry-After": "1"} if status == 429 else {}
    return JSONResponse({"error": message}, status, headers=again)


async def _refused(_: Request, error: Any) -> Response:
    return _answer(error.status, str(error))


async def _unknown(request: Request, error: Any) -> Response:
    told = f"{request.method} {request.url.path[:80]}: there are GET /, /model, /openapi.json " \
           "and /health, and POST /predict."
    return JSONResponse({"error": told}, error.status_code, headers=error.headers)


async def _failed(_: Request, error: Exception) -> Response:
    return _answer(500, "the server failed; its own output says how.")
