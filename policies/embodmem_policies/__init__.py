"""One memory for agents with a body: simulated agents, robots, and policies in training."""
