"""``python -m radpost`` is the command ``radpost``."""

from radpost.cli import main

main()
