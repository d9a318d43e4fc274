"""What an assessment says, in forms that other tools read. Pure functions to bytes."""
