"""`python -m attending` is the command `attending`."""

from attending.cli import main

main()
