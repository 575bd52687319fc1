"""A memory as an MCP server: `embodmem serve`, or `make_server` around a memory that is open already (extra mcp)."""

from embodmem.serve.service import Service
from embodmem.serve.shapes import Answered, Corrected, Forgotten, Item, Remembered, Statement

__all__ = ["Answered", "Corrected", "Forgotten", "Item", "Remembered", "Service", "Statement"]
