"""Loading causal language models, packed attention and the fused loss."""
