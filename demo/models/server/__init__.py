"""A thin server for the small Qwen2-VL that speaks the OpenAI chat protocol
(docs/adr/0004-thin-chat-server.md)."""
