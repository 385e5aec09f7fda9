"""Talking to a multimodal chat model: one asynchronous client, prompts as versioned data, what it cost."""
