"""From a DICOM file to values and images; the door is :mod:`dicom_processor`."""
