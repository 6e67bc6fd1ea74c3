"""Compose, check and launch one experiment: `python launch.py peft=qlora model=codellama`."""

from mftcoder.__main__ import main

if __name__ == "__main__":
    main()
