"""The command that runs until it is interrupted: node."""

from pathlib import Path
from typing import Annotated

import typer

from ich25d.cli.options import Accept, Device, Engine, Model, Summary, command


@command(
    "ich25d node --out node --send-to PACS@192.0.2.7:104",
    "ich25d node --out node --host 0.0.0.0 --allow SCANNER1 --allow PACS --send-to PACS@192.0.2.7:104 --dicom-captures",
    "ich25d node --out node --dicomweb https://pacs.example/dicom-web",
    "ich25d node --out node --send-to PACS@192.0.2.7:104 --dry-run",
)
def node(
    out: Annotated[Path, typer.Option(help="The node's folder: spool, results on their way, worklist.")],
    model: Model = None,
    title: Annotated[str, typer.Option("--aet", help="Its own AE title.")] = "ICH25D",
    host: Annotated[
        str, typer.Option(help="Address to listen at; another than this machine's own needs --allow.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            show_default=False,
            help="Port to listen at for DICOM; default: 11112, and with --dicomweb none.",
        ),
    ] = None,
    allow: Annotated[
        list[str] | None, typer.Option(metavar="AET", help="An AE title that may send; may be repeated.")
    ] = None,
    send_to: Annotated[
        str | None, typer.Option(metavar="AET@HOST:PORT", help="Where results go, by C-STORE; default: nowhere.")
    ] = None,
    dicomweb: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Root of a DICOMweb service: it is asked for new studies, and gets their results without --send-to.",
        ),
    ] = None,
    since: Annotated[
        str, typer.Option(metavar="YYYYMMDD", help="With --dicomweb: studies of this date on; default: of yesterday.")
    ] = "",
    close_after: Annotated[
        float, typer.Option(min=1, help="A study is complete when for so many seconds no image of it came.")
    ] = 30,
    dicom_captures: Annotated[
        bool, typer.Option("--dicom-captures", help="Send pictures of the key slices, with heat, too.")
    ] = False,
    dicom_heat: Annotated[bool, typer.Option("--dicom-heat", help="Send parametric maps of the heat too.")] = False,
    page_port: Annotated[
        int, typer.Option(min=1, max=65535, help="Port of the worklist's page, on this machine alone.")
    ] = 8025,
    show: Annotated[int, typer.Option(min=1, help="Studies that the worklist keeps, with their pages.")] = 200,
    spool_gb: Annotated[
        float, typer.Option(min=0.001, help="GB that images and unsent results may take; at more, images are put off.")
    ] = 20,
    accept: Accept = None,
    device: Device = "auto",
    engine: Engine = "auto",
    dry: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would listen to, send, and with which model.")
    ] = False,
) -> Summary:
    """Take CT studies from a PACS or a scanner, predict them, send the results back, and show a worklist."""
    from ich25d.node.beforehand import check_node
    from ich25d.node.settings import Limits, NodeSettings, peer, service_url
    from ich25d.predict.open_model import model_folder

    settings = NodeSettings(
        out, title, host, port or (11112 if dicomweb is None else None), tuple(allow or ()),
        None if send_to is None else peer(send_to), None if dicomweb is None else service_url(dicomweb), since,
        close_after_s=close_after, captures=dicom_captures, heat=dicom_heat, page_port=page_port, n_shown=show,
        accept=tuple(accept or ()), device=device, engine=engine, limits=Limits(spool_bytes=int(spool_gb * 1e9)),
    )  # fmt: skip
    folder = model_folder(model)
    if dry:
        from ich25d.node.dry_run import dry_node

        return dry_node(settings, folder)
    check_node(settings, folder)
    from ich25d.node.run import node as run  # loads torch

    return run(settings, folder)
