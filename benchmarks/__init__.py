"""How fast the hot paths are, as ratios against yardsticks taken in the same run. See README.md."""

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
django.setup()
