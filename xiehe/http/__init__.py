"""Requests to XieHe: transport, tokens, retries, responses."""
