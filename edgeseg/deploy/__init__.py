"""From a checkpoint to a proven artifact: plan, convert, prove, manifest."""
