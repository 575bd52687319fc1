"""Working memory: the context of now, bounded, with pins, subgoals that fold, a task tree, and edits as actions."""

from embodmem.working.bounds import Usage, count_tokens
from embodmem.working.edits import Edit, EditAction
from embodmem.working.memory import WorkingMemory
from embodmem.working.tasks import Task, TaskTree

__all__ = ["Edit", "EditAction", "Task", "TaskTree", "Usage", "WorkingMemory", "count_tokens"]
