"""``python -m flipbench``."""

from flipbench.cli.app import main

if __name__ == "__main__":
    main()
