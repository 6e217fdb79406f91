"""``launcher completion``."""

import click

SHELLS = ("bash", "zsh", "fish")

EXAMPLES = """\b
Examples:
  eval "$(launcher completion bash)"                                        # in ~/.bashrc
  eval "$(launcher completion zsh)"                                         # in ~/.zshrc
  launcher completion fish > ~/.config/fish/completions/launcher.fish
"""


@click.command("completion", epilog=EXAMPLES)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print a script that completes commands in your shell."""
    from click.shell_completion import get_completion_class

    completion = get_completion_class(shell)
    if completion is None:
        raise click.UsageError(f"click has no completion for {shell}")
    root = ctx.find_root()
    click.echo(completion(root.command, {}, "launcher", "_LAUNCHER_COMPLETE").source())
