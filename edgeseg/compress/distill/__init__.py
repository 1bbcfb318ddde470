"""Distillation: teachers, their outputs, losses."""
