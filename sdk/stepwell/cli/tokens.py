"""`stepwell tokens`: secrets by which tenants are known. For the operator."""

from __future__ import annotations

import click

from stepwell.cli.app import App, output_option, print_json, tenant_required


@click.group("tokens")
def command() -> None:
    """Secrets by which tenants are known (operator)."""


@command.command("create")
@tenant_required
@output_option
@click.pass_obj
def create(app: App, tenant: str, output: str) -> None:
    """Make a token for everything within one tenant, and print its secret: this once, and alone on stdout."""
    from stepwell.cli import documents

    made = app.ask(lambda client: client.tenants.create_token(tenant))
    if output == "json":
        print_json(documents.token(made))
        return
    click.echo(f"A token of tenant {tenant}; it is not shown again:", err=True)
    click.echo(made.secret)
