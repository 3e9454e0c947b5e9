"""Name and version of the service."""

NAME = "dicom-import-service"
VERSION = "0.2.0"
