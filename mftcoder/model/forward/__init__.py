"""The forward pass: packed attention, the fused loss, and the test that a sample's loss is its own."""
