"""Ohmformer: large language models on memristor crossbars, before the hardware exists."""
