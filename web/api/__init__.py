"""The JSON of the HTTP API: schemas, serializers, problems, reports."""
