"""What each command does. `table` shows the whole wiring; the other files hold the handlers by subject."""
