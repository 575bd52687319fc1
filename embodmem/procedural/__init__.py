"""Procedural memory: experiences, cases chosen by what they earned, skills, plans revised by retrieval."""

from embodmem.procedural.memory import ProceduralMemory
from embodmem.procedural.revise import revise, suggest
from embodmem.procedural.types import Advice, Case, Change, Experience, Lesson, Offer, RevisedPlan, RevisedStep, Skill

__all__ = [
    "Advice",
    "Case",
    "Change",
    "Experience",
    "Lesson",
    "Offer",
    "ProceduralMemory",
    "RevisedPlan",
    "RevisedStep",
    "Skill",
    "revise",
    "suggest",
]
