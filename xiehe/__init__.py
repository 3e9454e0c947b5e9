"""The XieHe client's parts; its door is :mod:`api_client`."""
