"""From a DICOM file to values and pictures, in parts; the door is :mod:`dicom_processor`."""
