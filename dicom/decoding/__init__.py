"""From the pixel data element to cells: frames, codestreams, decoders, whole scans (PS3.5)."""
