"""What is said to Gemini and what it says, whoever asks."""
