"""Where runs are kept; import from the modules, as they cost little alone and much together."""
