"""The route for Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse

from monitoring.metrics import CONTENT_TYPE, Metrics

router = APIRouter()


@router.get("/metrics", summary="Prometheus 指标", response_class=PlainTextResponse)
async def read_metrics(request: Request) -> Response:
    metrics: Metrics = request.app.state.metrics
    return Response(metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})
