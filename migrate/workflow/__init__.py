"""The engine and what it keeps: deciding, running, recording, going back."""
