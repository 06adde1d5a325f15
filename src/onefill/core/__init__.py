"""The rules, pure: values in, values out. Time, ids and seeds are arguments; nothing here reads a clock or does I/O."""
