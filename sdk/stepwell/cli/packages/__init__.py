"""The packages that a bundle needs: found by pip for the guest's Python, wheels alone, and uploaded with the code."""
