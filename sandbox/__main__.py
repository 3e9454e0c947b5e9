"""`python -m sandbox --contract 4 --port 0 --data-dir DIR --token TOKEN --user U --password P`"""

from sandbox.options import parse_options
from sandbox.server import serve

if __name__ == "__main__":
    serve(parse_options())
