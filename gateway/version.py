"""The version of this program: what its package says, or the source tree's own where it is not installed."""

from importlib import metadata

try:
    VERSION = metadata.version("portico")
except metadata.PackageNotFoundError:
    VERSION = "0+source"
