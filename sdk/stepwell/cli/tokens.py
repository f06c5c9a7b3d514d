"""`stepwell tokens`: secrets by which tenants and operators are known. For the operator."""

from __future__ import annotations

import click

from stepwell.cli.app import App, F, output_option, page_options, print_json, tenant_option, token_argument
from stepwell.cli.lists import show_page

SCOPES = ("read", "run", "deploy")


def whose(function: F) -> F:
    """--tenant T or --operator: whose token may do what is not left to a slip."""
    operator = click.option("--operator", is_flag=True, help="The operator's, for everything; instead of --tenant.")
    return tenant_option(operator(function))


@click.group("tokens")
def command() -> None:
    """Secrets by which tenants and operators are known (operator)."""


@command.command("create")
@whose
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    help="What a tenant's token may do, and nothing else; may be repeated.  [default: all of them]",
)
@output_option
@click.pass_obj
def create(app: App, tenant: str | None, operator: bool, scopes: tuple[str, ...], output: str) -> None:
    """Make a token of one tenant or of the operator, and print its secret: this once, and alone on stdout."""
    from stepwell.cli import documents

    owner = _owner(tenant, operator)
    if operator and scopes:
        raise click.UsageError("an operator's token may do everything: leave out --scope, or name a tenant")
    numbers = [documents.scope_number(scope) for scope in scopes]
    made = app.ask(lambda client: client.tenants.create_token(owner, numbers))
    if output == "json":
        print_json(documents.new_token(made))
        return
    click.echo(f"A token of {f'tenant {tenant}' if tenant else 'the operator'}; it is not shown again:", err=True)
    click.echo(made.secret)


@command.command("list")
@whose
@page_options
@output_option
@click.pass_obj
def list_(app: App, tenant: str | None, operator: bool, page_size: int, page_token: str, output: str) -> None:
    """List tokens, oldest first, without their secrets: nobody has those but who was shown them."""
    from stepwell.cli import documents
    from stepwell.client.resource_names import id_in

    owner = _owner(tenant, operator)
    page = app.ask(lambda client: client.tenants.list_tokens(owner, page_size=page_size, page_token=page_token))
    if output == "json":
        print_json(documents.page([documents.token(each) for each in page.tokens], page.next_page_token))
        return
    rows = [
        [
            id_in(each.name, "tokens") or "",
            app.since(documents.datetime_of(each.create_time)),
            ", ".join(map(documents.scope_text, each.scopes)) or "everything (operator)",
        ]
        for each in page.tokens
    ]
    show_page(app.screen, ["TOKEN", "CREATED", "SCOPES"], rows, page.next_page_token, "No tokens.")


@command.command("revoke")
@token_argument
@whose
@output_option
@click.pass_obj
def revoke(app: App, token: str, tenant: str | None, operator: bool, output: str) -> None:
    """Let a token open nothing more. ID is what stands between swk_ and the secret; `stepwell tokens list` shows it.

    New calls with it are refused at once, and what it began ends within 5 seconds. There is no way back.
    """
    from stepwell.cli import documents

    owner = _owner(tenant, operator)
    app.ask(lambda client: client.tenants.revoke_token(owner, token))
    if output == "json":
        print_json(documents.token_reference(owner, token, revoked=True))
    else:
        app.screen.line(f"Revoked {token}")


def _owner(tenant: str | None, operator: bool) -> str | None:
    if (tenant is None) is not operator:
        raise click.UsageError("whose token? Say --tenant TENANT, or --operator, which is for everything")
    return tenant
