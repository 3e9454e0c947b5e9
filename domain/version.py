"""Name and version of the service."""

NAME = "dicom-import-service"
VERSION = "0.3.0"
