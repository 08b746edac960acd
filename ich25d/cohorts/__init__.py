"""Test sets that others published, predicted and scored as their papers did."""
