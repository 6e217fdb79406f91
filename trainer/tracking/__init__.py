"""What a results folder says, sent to MLflow by a process beside the training: it can neither slow nor fail it."""
