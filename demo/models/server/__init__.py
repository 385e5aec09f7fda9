"""A thin server for the small Qwen2-VL that speaks the OpenAI chat protocol
(docs/adr/0006-own-server-for-the-small-model.md)."""
