// The world around the compiled accelerator: a clock, a host on AXI-Lite and a DDR on AXI3.
//
// Verilator's class is Vmodel; its ports are clk, rst, s_axil_*, m_axi_* and irq. Everything that
// happens in a cycle happens here, so that Python is called once for thousands of cycles.

#include "Vmodel.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#define API extern "C" __attribute__((visibility("default")))

namespace {

constexpr int OKAY = 0, SLVERR = 2, DECERR = 3;
constexpr size_t BEAT = 8;

// What an AXI-Lite access waited for in vain; smaller values are the slave's answer.
enum Wait { WAIT_AWREADY = 4, WAIT_WREADY, WAIT_BVALID, WAIT_ARREADY, WAIT_RVALID, WAIT_FAULT };

// The top's port `events`, or nothing where a design has none.
template <class Top> auto events_of(const Top& top, int) -> decltype(uint32_t(top.events)) {
    return top.events;
}
template <class Top> uint32_t events_of(const Top&, long) { return 0; }

struct Burst {
    uint64_t address;
    uint64_t due;    // cycle from which it may be answered
    unsigned beats;
    unsigned id;
    unsigned done = 0;
    int response = OKAY;
};

struct Range {
    uint64_t first = 0, size = 0;
    bool meets_beat(uint64_t address) const {
        return size && address < first + size && address + BEAT > first;
    }
};

// Sees that a channel's payload and valid do not change until they are taken.
template <size_t N> struct Watch {
    std::array<uint64_t, N> payload{};
    bool held = false;
    bool broken(bool valid, bool ready, const std::array<uint64_t, N>& now) {
        const bool bad = held && (!valid || now != payload);
        held = valid && !ready;
        payload = now;
        return bad;
    }
};

struct Harness {
    std::unique_ptr<VerilatedContext> context{new VerilatedContext};
    std::unique_ptr<Vmodel> top{new Vmodel{context.get()}};
#if VM_TRACE
    std::unique_ptr<VerilatedVcdC> trace;
#endif
    uint8_t* ddr;  // the caller's
    uint64_t ddr_size, ddr_address;
    uint64_t cycle = 0;
    std::string fault;  // first breach of the protocol

    unsigned latency = 30;
    unsigned outstanding = 8;
    uint32_t stall = 0;  // of 65536
    uint64_t random = 1;
    bool answering = true;
    Range bad_reads, bad_writes;
    bool recording = false;
    std::vector<std::array<uint64_t, 2>> record;  // cycle, events from then on

    std::deque<Burst> reads, writes, answers;
    Watch<6> watch_aw, watch_ar;
    Watch<4> watch_w;

    struct {
        bool aw, w, b, ar, r;
        unsigned response;
        uint32_t data;
    } lite{};

    Harness(uint8_t* memory, uint64_t size, uint64_t address)
        : ddr(memory), ddr_size(size), ddr_address(address) {
#if VM_TRACE
        context->traceEverOn(true);
#endif
        top->s_axil_bready = 1;
        top->s_axil_rready = 1;
        top->eval();
    }
    ~Harness() {
        // The model's scopes are taken from the thread's context, which may be another's by now.
        Verilated::threadContextp(context.get());
#if VM_TRACE
        if (trace) trace->close();
#endif
        top->final();
    }

    // xorshift64 (Marsaglia, 2003): a stall must not depend on the C library.
    bool stalls() {
        if (!stall) return false;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        return (random >> 32 & 0xFFFF) < stall;
    }

    void breach(const char* what, uint64_t address) {
        if (!fault.empty()) return;
        char text[160];
        std::snprintf(text, sizeof text, "%s (address 0x%08llx, cycle %llu)", what,
                      static_cast<unsigned long long>(address),
                      static_cast<unsigned long long>(cycle));
        fault = text;
    }

    uint8_t* beat(uint64_t address) {
        const uint64_t offset = address - ddr_address;
        return offset <= ddr_size - BEAT ? ddr + offset : nullptr;
    }

    void check_burst(uint64_t address, unsigned beats, unsigned size, unsigned burst) {
        if (size != 3) breach("burst of beats other than 8 bytes", address);
        if (burst != 1) breach("burst that does not increment", address);
        if (beats > 16) breach("burst of more than 16 beats", address);
        if (address % BEAT) breach("burst at an address that is no multiple of 8", address);
        if (address / 4096 != (address + BEAT * beats - 1) / 4096)
            breach("burst across a boundary of 4096 bytes", address);
    }

    // One clock cycle. Outputs are sampled before the rising edge, inputs change after it.
    void tick() {
        Vmodel& t = *top;
        t.clk = 0;
        t.eval();
        dump();

        const bool aw = t.m_axi_awvalid && t.m_axi_awready;
        const bool w = t.m_axi_wvalid && t.m_axi_wready;
        const bool b = t.m_axi_bvalid && t.m_axi_bready;
        const bool ar = t.m_axi_arvalid && t.m_axi_arready;
        const bool r = t.m_axi_rvalid && t.m_axi_rready;
        const uint64_t awaddr = t.m_axi_awaddr, araddr = t.m_axi_araddr, wdata = t.m_axi_wdata;
        const unsigned awbeats = t.m_axi_awlen + 1, awid = t.m_axi_awid;
        const unsigned arbeats = t.m_axi_arlen + 1, arid = t.m_axi_arid;
        const unsigned wstrb = t.m_axi_wstrb, wlast = t.m_axi_wlast, wid = t.m_axi_wid;
        if (!t.rst) {
            if (watch_aw.broken(t.m_axi_awvalid, t.m_axi_awready,
                                {awaddr, awbeats, awid, t.m_axi_awsize, t.m_axi_awburst,
                                 t.m_axi_awcache}))
                breach("AW changed before AWREADY", awaddr);
            if (watch_ar.broken(t.m_axi_arvalid, t.m_axi_arready,
                                {araddr, arbeats, arid, t.m_axi_arsize, t.m_axi_arburst,
                                 t.m_axi_arcache}))
                breach("AR changed before ARREADY", araddr);
            if (watch_w.broken(t.m_axi_wvalid, t.m_axi_wready, {wdata, wstrb, wlast, wid}))
                breach("W changed before WREADY", writes.empty() ? 0 : writes.front().address);
            if (aw) check_burst(awaddr, awbeats, t.m_axi_awsize, t.m_axi_awburst);
            if (ar) check_burst(araddr, arbeats, t.m_axi_arsize, t.m_axi_arburst);
        }
        if (recording) {
            const uint64_t events = events_of(t, 0);
            if (record.empty() || record.back()[1] != events) record.push_back({cycle, events});
        }
        lite.aw = t.s_axil_awvalid && t.s_axil_awready;
        lite.w = t.s_axil_wvalid && t.s_axil_wready;
        lite.b = t.s_axil_bvalid && t.s_axil_bready;
        lite.ar = t.s_axil_arvalid && t.s_axil_arready;
        lite.r = t.s_axil_rvalid && t.s_axil_rready;
        if (lite.b) lite.response = t.s_axil_bresp;
        if (lite.r) {
            lite.response = t.s_axil_rresp;
            lite.data = t.s_axil_rdata;
        }

        t.clk = 1;
        t.eval();
        context->timeInc(5);
        dump();
        context->timeInc(5);

        if (t.rst) {
            ++cycle;
            reads.clear();
            writes.clear();
            answers.clear();
            watch_aw.held = watch_w.held = watch_ar.held = false;
            t.m_axi_rvalid = t.m_axi_bvalid = 0;
            t.m_axi_arready = t.m_axi_awready = t.m_axi_wready = 0;
            return;
        }
        if (aw) writes.push_back({awaddr, 0, awbeats, awid});
        if (ar) reads.push_back({araddr, cycle + latency, arbeats, arid});
        if (w) take_write(wdata, wstrb, wlast, wid);
        if (b) {
            answers.pop_front();
            t.m_axi_bvalid = 0;
        }
        if (r) {
            if (++reads.front().done == reads.front().beats) reads.pop_front();
            t.m_axi_rvalid = 0;
        }
        ++cycle;
        drive();
    }

    void take_write(uint64_t data, unsigned strobes, bool last, unsigned id) {
        Burst& burst = writes.front();
        const uint64_t address = burst.address + BEAT * burst.done;
        uint8_t* to = beat(address);
        if (id != burst.id) breach("WID other than the burst's AWID", address);
        if (!to)
            burst.response = DECERR;
        else if (bad_writes.meets_beat(address))
            burst.response = SLVERR;
        else
            for (size_t i = 0; i < BEAT; ++i)
                if (strobes >> i & 1) to[i] = static_cast<uint8_t>(data >> 8 * i);
        ++burst.done;
        if (last != (burst.done == burst.beats)) breach("WLAST on the wrong beat", address);
        if (burst.done == burst.beats) {
            burst.due = cycle + latency;
            answers.push_back(burst);
            writes.pop_front();
        }
    }

    // The slave's signals for the next cycle. What is valid stays as it is until it is taken.
    void drive() {
        Vmodel& t = *top;
        t.m_axi_arready = answering && reads.size() < outstanding && !stalls();
        t.m_axi_awready =
            answering && writes.size() + answers.size() < outstanding && !stalls();
        // A burst that AW has not announced is not taken, one beat at a time.
        t.m_axi_wready = answering && !writes.empty() && !stalls();
        if (!t.m_axi_bvalid && answering && !answers.empty() && cycle >= answers.front().due &&
            !stalls()) {
            t.m_axi_bvalid = 1;
            t.m_axi_bid = answers.front().id;
            t.m_axi_bresp = answers.front().response;
        }
        if (!t.m_axi_rvalid && answering && !reads.empty() && cycle >= reads.front().due &&
            !stalls()) {
            const Burst& burst = reads.front();
            const uint64_t address = burst.address + BEAT * burst.done;
            const uint8_t* from = beat(address);
            uint64_t data = 0;
            if (from) std::memcpy(&data, from, BEAT);
            t.m_axi_rvalid = 1;
            t.m_axi_rid = burst.id;
            t.m_axi_rdata = data;
            t.m_axi_rlast = burst.done + 1 == burst.beats;
            t.m_axi_rresp = !from ? DECERR : bad_reads.meets_beat(address) ? SLVERR : OKAY;
        }
    }

    void dump() {
#if VM_TRACE
        if (trace) trace->dump(context->time());
#endif
    }

    int write(uint32_t address, uint32_t data, uint32_t strobes, uint64_t bound) {
        Vmodel& t = *top;
        t.s_axil_awaddr = address;
        t.s_axil_wdata = data;
        t.s_axil_wstrb = strobes;
        t.s_axil_awvalid = t.s_axil_wvalid = 1;
        bool answered = false;
        for (uint64_t i = 0; i < bound && !answered && fault.empty(); ++i) {
            tick();
            if (lite.aw) t.s_axil_awvalid = 0;
            if (lite.w) t.s_axil_wvalid = 0;
            answered = lite.b;
        }
        if (!fault.empty()) return WAIT_FAULT;
        if (answered) return static_cast<int>(lite.response);
        const int missing = t.s_axil_awvalid ? WAIT_AWREADY
                            : t.s_axil_wvalid ? WAIT_WREADY : WAIT_BVALID;
        t.s_axil_awvalid = t.s_axil_wvalid = 0;
        return missing;
    }

    int read(uint32_t address, uint32_t* data, uint64_t bound) {
        Vmodel& t = *top;
        t.s_axil_araddr = address;
        t.s_axil_arvalid = 1;
        bool answered = false;
        for (uint64_t i = 0; i < bound && !answered && fault.empty(); ++i) {
            tick();
            if (lite.ar) t.s_axil_arvalid = 0;
            answered = lite.r;
        }
        if (!fault.empty()) return WAIT_FAULT;
        *data = lite.data;
        if (answered) return static_cast<int>(lite.response);
        const int missing = t.s_axil_arvalid ? WAIT_ARREADY : WAIT_RVALID;
        t.s_axil_arvalid = 0;
        return missing;
    }
};

}  // namespace

API Harness* harness_create(uint8_t* ddr, uint64_t ddr_size, uint64_t ddr_address) {
    return new Harness(ddr, ddr_size, ddr_address);
}

API void harness_destroy(Harness* h) { delete h; }

API uint64_t harness_cycles(const Harness* h) { return h->cycle; }

API int harness_irq(const Harness* h) { return h->top->irq; }

API const char* harness_fault(const Harness* h) { return h->fault.c_str(); }

API void harness_reset(Harness* h, uint64_t cycles) {
    h->top->rst = 1;
    for (uint64_t i = 0; i < cycles; ++i) h->tick();
    h->top->rst = 0;
}

API int harness_write(Harness* h, uint32_t address, uint32_t data, uint32_t strobes,
                      uint64_t bound) {
    return h->write(address, data, strobes, bound);
}

API int harness_read(Harness* h, uint32_t address, uint32_t* data, uint64_t bound) {
    return h->read(address, data, bound);
}

// Runs `cycles`, or fewer when the interrupt is asked for and high, or the protocol is broken.
API uint64_t harness_run(Harness* h, uint64_t cycles, int until_irq) {
    uint64_t done = 0;
    while (done < cycles && h->fault.empty() && !(until_irq && h->top->irq)) {
        h->tick();
        ++done;
    }
    return done;
}

API void harness_timing(Harness* h, uint32_t latency, uint32_t stall, uint64_t seed,
                        uint32_t outstanding) {
    h->latency = latency;
    h->stall = stall;
    h->random = seed ? seed : 1;
    h->outstanding = outstanding;
}

API void harness_fail(Harness* h, int writes, uint64_t first, uint64_t size) {
    (writes ? h->bad_writes : h->bad_reads) = Range{first, size};
}

API void harness_answering(Harness* h, int on) { h->answering = on; }

// Begins a trace in `path`, or ends it where `path` is null. Returns 0 where it cannot.
API int harness_trace(Harness* h, const char* path) {
#if VM_TRACE
    if (h->trace) h->trace->close();
    h->trace.reset();
    if (!path) return 1;
    h->trace.reset(new VerilatedVcdC);
    h->top->trace(h->trace.get(), 99);
    h->trace->open(path);
    return h->trace->isOpen();
#else
    static_cast<void>(h);
    return path == nullptr;
#endif
}

// Begins a record of port `events`, or ends it; what was recorded before is forgotten at a begin.
API void harness_record(Harness* h, int on) {
    if (on) h->record.clear();
    h->recording = on;
}

// Pairs of a cycle and the events from then on; `count` receives their number.
API const uint64_t* harness_recorded(const Harness* h, uint64_t* count) {
    *count = h->record.size();
    return h->record.empty() ? nullptr : h->record.front().data();
}
