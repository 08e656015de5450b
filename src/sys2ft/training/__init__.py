"""Fine-tuning: sequences packed into rows, a bank of LoRA adapters on one frozen base, one training loop."""
