"""Verilog of a component, with the port names that a block design expects."""

from __future__ import annotations

from amaranth.back import rtlil, verilog
from amaranth.hdl import Const, Value, ValueCastable

# Not public in Amaranth 0.5, but the direction must be said: left out, an output that nothing
# drives would silently become an input.
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

__all__ = ["VERILOG", "to_rtlil", "to_verilog"]

#: The platform of components that are synthesised: these may name primitives of the part.
VERILOG = "verilog"


def to_verilog(component: wiring.Component, name: str, platform: object = VERILOG) -> str:
    """The Verilog text of ``component``, elaborated for ``platform``, as a module called ``name``.

    A nested port is named by its path with single underscores, so that member ``awaddr`` of
    ``s_axil`` becomes ``s_axil_awaddr`` (Amaranth alone would write ``s_axil__awaddr``, which
    tools do not recognise as an AXI port). Clock and reset of the domain ``sync`` are ``clk`` and
    ``rst``. A constant, such as the ``ready`` of a stream that always is, becomes no port.

    Raises
    ------
    ValueError
        If two ports get the same name.
    """
    return verilog.convert(component, name=name, platform=platform, ports=_ports(component),
                           emit_src=False, strip_internal_attrs=True)


def to_rtlil(component: wiring.Component, name: str, platform: object = None) -> str:
    """The RTLIL text of ``component``, with the ports of :func:`to_verilog`.

    Raises
    ------
    ValueError
        As :func:`to_verilog`.
    """
    return rtlil.convert(component, name=name, platform=platform, ports=_ports(component),
                         emit_src=False)


def _ports(component: wiring.Component) -> dict[str, tuple[Value, PortDirection]]:
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
    return ports
