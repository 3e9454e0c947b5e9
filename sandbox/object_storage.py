"""The object storage behind C3/C4, on paths outside the API: presigned links only, errors in XML."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from sandbox.backend import Backend, backend_of
from sandbox.journal import Entry
from sandbox.storage import object_path

router = APIRouter(prefix="/storage")


@router.put("/{bucket}/{file_uuid}/{name}")
async def put_part(request: Request, file_uuid: str) -> Response:
    """200 with the part's ETag. A chunked body or an Authorization header is refused."""
    backend = backend_of(request)
    refusal = _refusal(backend, request)
    if refusal is not None:
        return refusal
    if "content-length" not in request.headers:
        return _xml(411, "MissingContentLength")
    if request.scope.get("sandbox.fault") == "storage_fault":
        return _xml(503, "SlowDown")
    content = await request.body()
    upload_id, number = request.query_params["uploadId"], int(request.query_params["partNumber"])
    session = backend.database.one(
        "SELECT filename, object_etag FROM upload_sessions WHERE upload_id = ? AND file_uuid = ?", upload_id, file_uuid
    )
    if session is None or session["object_etag"] is not None:
        return _xml(404, "NoSuchUpload")
    entry: Entry = request.scope["sandbox.entry"]
    entry.filename = session["filename"]
    md5 = backend.storage.write_part(upload_id, number, content)
    backend.database.run(
        "INSERT INTO parts VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET md5 = excluded.md5, size = excluded.size",
        upload_id,
        number,
        md5,
        len(content),
    )
    return Response(status_code=200, headers={"ETag": f'"{md5}"'})


@router.get("/{bucket}/{file_uuid}/{name}")
async def fetch_object(request: Request, file_uuid: str) -> Response:
    backend = backend_of(request)
    refusal = _refusal(backend, request)
    if refusal is not None:
        return refusal
    faulty = request.scope.get("sandbox.fault") == "storage_fault"
    content = None if faulty else backend.storage.read(object_path(file_uuid))
    return _xml(404, "NoSuchKey") if content is None else Response(content, media_type="application/octet-stream")


def _refusal(backend: Backend, request: Request) -> Response | None:
    if "authorization" in request.headers:
        return _xml(400, "InvalidArgument")
    raw_path = request.scope["raw_path"].decode()
    refused = backend.links.refusal(request.method, raw_path, request.scope["query_string"].decode())
    return None if refused is None else _xml(*refused)


def _xml(status: int, code: str) -> Response:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{code}</Message></Error>'
    return Response(body, status, media_type="application/xml")
