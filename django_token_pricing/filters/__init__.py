"""FilterSets of django-filter that dashboards and their exports share."""
