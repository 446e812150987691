"""One YAML file plus environment -> a frozen `Config`. Secrets come by file or environment only.

Nothing is imported here: the health check needs two of these files, and none of the libraries behind the others.
"""
