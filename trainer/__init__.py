"""The PyTorch trainer: one supervisor a machine, one process a rank."""
