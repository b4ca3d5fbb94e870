"""The two AXI interfaces at the edge of the accelerator, as signatures."""

from __future__ import annotations

from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Response", "AxiLite", "Axi3"]


class Response(enum.Enum, shape=2):
    """Answer to an access (AMBA AXI, A3.4.4)."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


class AxiLite(wiring.Signature):
    """AXI4-Lite with 32-bit data, seen from the master.

    Parameters
    ----------
    address_bits : width of ``awaddr`` and ``araddr``.

    Members
    -------
    aw*, w*, b*, ar*, r* : the signals of the standard, under its names.
    """

    def __init__(self, address_bits: int) -> None:
        if not isinstance(address_bits, int) or not 2 <= address_bits <= 64:
            raise ValueError(
                f"address_bits must be an integer between 2 and 64, not {address_bits!r}")
        super().__init__({
            "awaddr": Out(address_bits),
            "awprot": Out(3),
            "awvalid": Out(1),
            "awready": In(1),
            "wdata": Out(32),
            "wstrb": Out(4),
            "wvalid": Out(1),
            "wready": In(1),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
            "araddr": Out(address_bits),
            "arprot": Out(3),
            "arvalid": Out(1),
            "arready": In(1),
            "rdata": In(32),
            "rresp": In(2),
            "rvalid": In(1),
            "rready": Out(1),
        })


class Axi3(wiring.Signature):
    """AXI3 with 64-bit data and 32-bit addresses, seen from the master.

    The widths are those of a Zynq-7000 high-performance port (UG585, chapter 5): six bits of
    identifier, four bits of length, two bits of lock. Quality of service is left to the port.

    Members
    -------
    aw*, w*, b*, ar*, r* : the signals of the standard, under its names.
    """

    ID_BITS = 6

    def __init__(self) -> None:
        request = {"id": self.ID_BITS, "addr": 32, "len": 4, "size": 3, "burst": 2, "lock": 2,
                   "cache": 4, "prot": 3, "valid": 1}
        super().__init__({
            **{f"aw{name}": Out(width) for name, width in request.items()},
            "awready": In(1),
            "wid": Out(self.ID_BITS),
            "wdata": Out(64),
            "wstrb": Out(8),
            "wlast": Out(1),
            "wvalid": Out(1),
            "wready": In(1),
            "bid": In(self.ID_BITS),
            "bresp": In(2),
            "bvalid": In(1),
            "bready": Out(1),
            **{f"ar{name}": Out(width) for name, width in request.items()},
            "arready": In(1),
            "rid": In(self.ID_BITS),
            "rdata": In(64),
            "rresp": In(2),
            "rlast": In(1),
            "rvalid": In(1),
            "rready": Out(1),
        })
