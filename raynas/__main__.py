"""`python -m raynas`, which is the command `raynas`."""

from raynas.commands.main import main

if __name__ == "__main__":
    main()
