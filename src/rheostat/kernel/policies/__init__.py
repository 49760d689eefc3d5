"""Pure policies that methods share."""
