"""``radpost run``: the gateway in the foreground."""

from radpost.cli.common import DEFAULT_CONFIG, ConfigOption, configured


def run(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Run the gateway until it is told to stop (SIGTERM or Ctrl-C)."""
    from radpost.gateway.log import configure  # noqa: PLC0415
    from radpost.gateway.service import run as serve  # noqa: PLC0415

    configure()
    serve(configured(config))
