"""Where jobs run: one package a backend, one protocol."""
