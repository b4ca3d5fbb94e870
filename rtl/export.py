"""Verilog of a component, with the port names that a block design expects."""

from __future__ import annotations

from amaranth.back import verilog
from amaranth.hdl import Const, Value, ValueCastable

# Not public in Amaranth 0.5, but the direction must be said: left out, an output that nothing
# drives would silently become an input.
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

__all__ = ["VERILOG", "to_verilog"]

#: The platform of components that are exported: these may name primitives of the part.
VERILOG = object()


def to_verilog(component: wiring.Component, name: str) -> str:
    """The Verilog text of ``component`` as a module called ``name``.

    A nested port is named by its path with single underscores, so that member ``awaddr`` of
    ``s_axil`` becomes ``s_axil_awaddr`` (Amaranth alone would write ``s_axil__awaddr``, which
    tools do not recognise as an AXI port). Clock and reset of the domain ``sync`` are ``clk`` and
    ``rst``. A constant, such as the ``ready`` of a stream that always is, becomes no port.

    Raises
    ------
    ValueError
        If two ports get the same name.
    """
    ports: dict[str, tuple[Value, PortDirection]] = {}
    for path, member, value in component.signature.flatten(component):
        if isinstance(value, Const):
            continue
        port = "_".join(map(str, path))
        if port in ports:
            raise ValueError(f"port names must be distinct, not {port!r} twice")
        ports[port] = (
            value.as_value() if isinstance(value, ValueCastable) else value,
            PortDirection.Input if member.flow == wiring.In else PortDirection.Output)
    return verilog.convert(component, name=name, ports=ports, platform=VERILOG, emit_src=False,
                           strip_internal_attrs=True)
