"""``python -m flipbench`` and the script ``flipbench``."""

from flipbench.system import import_path


def main() -> None:
    """Run the command line, which searches no module in the working folder."""
    import_path.make_safe()
    from flipbench.cli import app

    app.main()


if __name__ == "__main__":
    main()
