"""The handshakes of AXI: the register slave, and the master of the transfers."""

from __future__ import annotations

from amaranth.hdl import Assert, Assume, Cat, Const, Cover, Module, Mux, Signal

from tangente.golden.config import Config
from tangente.rtl.axi import Response
from tangente.rtl.control import Control
from tangente.rtl.transfer import Transfer

from .harness import Free, after, count_while, stands, stands_assumed

__all__ = ["master", "slave"]

#: The proof of the master: commands within 8 KiB, of less than 256 beats.
_ADDRESS, _LENGTH = 13, 7
#: Cycles after which a master that is ready has the slave's answer.
_ANSWERED = 3


def slave(config: Config) -> Free:
    """The register slave: no answer without a request, none lost, none late, none that changes."""
    def rules(m: Module, dut: Control) -> None:
        bus = dut.s_axil
        stands_assumed(m, bus.awvalid, bus.awready, bus.awaddr)
        stands_assumed(m, bus.wvalid, bus.wready, Cat(bus.wdata, bus.wstrb))
        stands_assumed(m, bus.arvalid, bus.arready, bus.araddr)
        stands(m, bus.bvalid, bus.bready, bus.bresp)
        stands(m, bus.rvalid, bus.rready, Cat(bus.rdata, bus.rresp))

        # Addresses, words and reads that were taken and are not answered.
        owed = []
        for name, taken, given in (
                ("address", bus.awvalid & bus.awready, bus.bvalid & bus.bready),
                ("word", bus.wvalid & bus.wready, bus.bvalid & bus.bready),
                ("read", bus.arvalid & bus.arready, bus.rvalid & bus.rready)):
            count = Signal(3, name=f"owed_{name}")
            m.d.sync += count.eq(count + taken - given)
            owed.append(count)
        address, word, read = owed
        m.d.comb += [
            Assert(~bus.bvalid | (address != 0) & (word != 0)),
            Assert(~bus.rvalid | (read != 0)),
            # At most what is answered, and one that waits for it: so the counts are exact.
            Assert(address == bus.bvalid + ~bus.awready),
            Assert(word == bus.bvalid + ~bus.wready),
            Assert(read == bus.rvalid),
        ]
        late_write = count_while(m, (address != 0) & (word != 0) & bus.bready & ~bus.bvalid,
                                 _ANSWERED, "late_write")
        late_read = count_while(m, (read != 0) & bus.rready & ~bus.rvalid, _ANSWERED, "late_read")
        m.d.comb += [
            Assert(late_write < _ANSWERED), Assert(late_read < _ANSWERED),
            # Something refused starts nothing.
            Assert(~after(m, bus.bvalid & ~after(m, bus.bvalid & ~bus.bready)
                          & (bus.bresp != Response.OKAY), "refused")
                   | ~after(m, dut.start | dut.reset | dut.stop | dut.seed_load, "acted")),
            Cover(after(m, bus.bvalid & ~bus.bready) & bus.bready & (address == 2) & (word == 2)),
            Cover(after(m, bus.rvalid & ~bus.rready) & bus.rready & bus.arvalid & bus.arready),
            Cover(bus.bvalid & (bus.bresp == Response.SLVERR)),
            Cover(bus.bvalid & (bus.bresp == Response.DECERR)),
            Cover(dut.start),
        ]
    return Free(Control(config), rules)


def master(config: Config) -> Free:
    """The transfers' master: requests stand; bursts end at 128 bytes; WLAST ends them.

    The bus, assumed: answers only what was asked, and RLAST on a burst's last beat.
    """
    def rules(m: Module, dut: Transfer) -> None:
        bus = dut.m_axi
        store, accept = Signal(), dut.command.valid & dut.command.ready
        with m.If(accept):
            m.d.sync += store.eq(dut.command.p.store)
        for c in ("aw", "ar"):
            valid, ready, address, length = (
                getattr(bus, c + part) for part in ("valid", "ready", "addr", "len"))
            fixed = Cat(getattr(bus, c + part) for part in ("id", "size", "burst", "lock", "cache",
                                                            "prot"))
            stands(m, valid, ready, Cat(address, length, fixed))
            m.d.comb += [
                Assert(~valid | (address[:3] == 0)),
                # 16 beats of 8 bytes at most, within 128 bytes: so never across 4 KiB.
                Assert(~valid | (address[3:7] + length <= 15)),
                Assert(~valid | dut.busy & (store == (c == "aw"))),
            ]
        stands(m, bus.wvalid, bus.wready, Cat(bus.wdata, bus.wstrb, bus.wlast))
        stands(m, dut.local_write.valid, dut.local_write.ready, dut.local_write.payload)
        stands(m, dut.local_read.valid, dut.local_read.ready, dut.local_read.payload)
        m.d.comb += [
            Assume(~accept | (dut.command.p.ddr[:3] == 0)),
            # Of the addresses and lengths only so many bits: the solver's time.
            Assume(~accept | (dut.command.p.ddr[_ADDRESS:] == 0)),
            Assume(~accept | (dut.command.p.length[_LENGTH:] == 0)),
        ]

        # Beats asked for and, of a store, taken by the bus. Bursts follow one another without a
        # gap from the command's address on, and end at multiples of 16 beats or with the command;
        # so do the beats, and their WLAST.
        first, total = Signal(_ADDRESS - 3), Signal(_LENGTH)
        asked, sent = Signal(_LENGTH + 1), Signal(_LENGTH + 1)
        with m.If(accept):
            m.d.sync += [first.eq(dut.command.p.ddr[3:]), total.eq(dut.command.p.length),
                         asked.eq(0), sent.eq(0)]
        began = after(m, (bus.awvalid & ~bus.awready) | (bus.arvalid & ~bus.arready))
        begins = (bus.awvalid | bus.arvalid) & ~began
        length = Mux(bus.awvalid, bus.awlen, bus.arlen)
        asked_now = Signal(_LENGTH + 1)
        m.d.comb += asked_now.eq(asked + Mux(begins, length + 1, 0))
        beats = bus.wvalid & bus.wready
        with m.If(~accept):
            m.d.sync += [asked.eq(asked_now), sent.eq(sent + beats)]
        beat = Signal(_ADDRESS - 2)
        m.d.comb += beat.eq(first + sent)
        m.d.comb += [
            Assert(~begins | (Mux(bus.awvalid, bus.awaddr, bus.araddr)[3:] == first + asked)),
            Assert(~begins | ((first + asked_now)[:4] == 0) | (asked_now == total)),
            Assert(asked_now <= total),
            Assert(~bus.wvalid | (sent < asked_now)),
            Assert(~bus.wvalid | (bus.wlast == (beat[:4].all() | (sent + 1 == total)))),
        ]

        # Answers that the bus owes.
        written, read_left = Signal(5), Signal(9)
        answered = bus.bvalid & bus.bready
        read = bus.rvalid & bus.rready
        m.d.sync += [
            written.eq(written + (beats & bus.wlast) - answered),
            read_left.eq(read_left + Mux(bus.arvalid & bus.arready, bus.arlen + 1, 0) - read),
        ]
        m.d.comb += [Assume(~bus.bvalid | (written != 0)), Assume(~bus.rvalid | (read_left != 0))]
        stands_assumed(m, bus.bvalid, bus.bready, bus.bresp)
        stands_assumed(m, bus.rvalid, bus.rready, Cat(bus.rdata, bus.rresp))
        task = dut.task
        # Bursts of which a beat is still to be taken.
        unfinished = Signal(_LENGTH - 2)
        begin, end = Signal(_LENGTH + 2), Signal(_LENGTH + 2)
        m.d.comb += [
            begin.eq(first[:4] + sent), end.eq(first[:4] + asked_now + 15),
            unfinished.eq(Mux(sent == asked_now, 0, end[4:] - begin[4:])),
            # What may be under way is bounded, and the slave's answers are awaited.
            Assert(read_left <= 128), Assert(written <= 8),
            Assert(bus.bready | (written == 0)),
            Assert(dut.idle == ~dut.busy),
            # Not busy: nothing is left on the bus.
            Assert(dut.busy | ~(bus.awvalid | bus.arvalid | bus.wvalid | dut.local_write.valid)),
            Assert(dut.busy | (written == 0) & (read_left == 0) & (sent == Mux(store, asked, 0))),
            # For the induction: the block's own counts.
            Assert(~dut.busy | (task.command.store == store)),
            Assert(~dut.busy | (task.address == first + asked_now)),
            Assert(~dut.busy | (asked_now + task.remaining == total)),
            Assert(~dut.busy | ~store | (total - task.to_send == sent + bus.wvalid)),
            Assert(~dut.busy | ~store | (task.position == (beat + bus.wvalid)[:4])),
            Assert(~dut.busy | ~store | (asked_now - sent == task.promised + bus.wvalid)),
            Assert(~dut.busy | store
                   | (task.promised == read_left + Mux(bus.arvalid, bus.arlen + 1, 0))),
            Assert(store | (sent == 0) & ~bus.wvalid & (written == 0) & (task.answers == 0)),
            Assert(~store | (read_left == 0) & ~dut.local_write.valid),
            Assert(~store | (task.answers == written + unfinished)),
            Assert(task.promised <= 128), Assert(task.answers <= 8),
            Assert(dut.busy | (task.promised == 0) & (task.answers == 0)),
            Assert(~dut.busy | ((first + asked_now)[:4] == 0) | (asked_now == total)
                   | (asked_now == 0)),
        ]
        abandoned = Signal()
        m.d.sync += abandoned.eq(dut.busy & (abandoned | dut.abandon))
        done = after(m, dut.busy) & ~dut.busy
        m.d.comb += [
            Cover(beats & bus.wlast & (sent > 0) & after(m, bus.wvalid & ~bus.wready)),
            Cover(beats & ~bus.wlast & (sent > 1) & (beat[:4] == 0)),
            Cover(done & store & ~after(m, abandoned) & (total > 1)),
            Cover(done & ~store & ~after(m, abandoned) & (total > 1)),
            Cover(done & store & after(m, abandoned) & (asked != 0)),
            Cover(bus.arvalid & bus.araddr[7:12].all() & (bus.arlen != 0)
                  & (bus.araddr[3:7] + bus.arlen == Const(15))),
            Cover(dut.error_read), Cover(dut.error_write),
        ]
    return Free(Transfer(config), rules)
