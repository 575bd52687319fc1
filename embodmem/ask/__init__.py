"""A question in words, answered from a memory by rules."""

from embodmem.ask.answer import ask
from embodmem.ask.question import Question, Reference, parse
from embodmem.ask.reply import Answer
from embodmem.ask.words import Vocabulary

__all__ = ["Answer", "Question", "Reference", "Vocabulary", "ask", "parse"]
