"""Reads, splits and samples rows, and turns them into token ids."""
