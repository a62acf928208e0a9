"""Measurements of this project against plain fp32 PyTorch and against its peers."""
