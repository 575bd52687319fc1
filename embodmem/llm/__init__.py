"""A language model behind any OpenAI-compatible endpoint, and a planner that asks it (extra llm). Nothing needs it."""

from embodmem.llm.client import Answer, LlmClient, LlmSettings, ToolCall
from embodmem.llm.planner import LlmPlanner

__all__ = ["Answer", "LlmClient", "LlmPlanner", "LlmSettings", "ToolCall"]
