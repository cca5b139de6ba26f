"""All that knows ms-swift, and nothing else: argument vectors, the log's language, checkpoints, failures. Pure."""
