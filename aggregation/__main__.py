"""Run ``python -m aggregation``."""

from aggregation.cli import main

if __name__ == "__main__":
    main()
