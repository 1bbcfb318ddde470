"""The camera loop: stages, queues, timing."""
