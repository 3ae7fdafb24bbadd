"""`python -m millrace`."""

from millrace.cli.main import main

main()
