"""Memory cells and trainers in torch. Nothing is here yet but the name; docs/systems.md says what comes."""
