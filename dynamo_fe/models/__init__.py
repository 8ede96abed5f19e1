"""From model card to a model that can be served: files, tokenizer, chat template, limits, registry."""
