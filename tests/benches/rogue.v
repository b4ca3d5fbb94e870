// A master that breaks one rule of AXI, and a slave that does not answer at two addresses.
//
// A write to address 0 chooses what happens on the DDR side; see `sin` below.
module rogue(
    input clk, input rst, output irq,
    input [13:0] s_axil_awaddr, input s_axil_awvalid, output s_axil_awready,
    input [31:0] s_axil_wdata, input [3:0] s_axil_wstrb, input s_axil_wvalid, output s_axil_wready,
    output [1:0] s_axil_bresp, output reg s_axil_bvalid, input s_axil_bready,
    input [13:0] s_axil_araddr, input s_axil_arvalid, output s_axil_arready,
    output [31:0] s_axil_rdata, output [1:0] s_axil_rresp, output reg s_axil_rvalid,
    input s_axil_rready,
    output [5:0] m_axi_awid, output [31:0] m_axi_awaddr, output [7:0] m_axi_awlen,
    output [2:0] m_axi_awsize, output [1:0] m_axi_awburst, output [3:0] m_axi_awcache,
    output reg m_axi_awvalid, input m_axi_awready,
    output [5:0] m_axi_wid, output [63:0] m_axi_wdata, output [7:0] m_axi_wstrb,
    output m_axi_wlast, output reg m_axi_wvalid, input m_axi_wready,
    input [5:0] m_axi_bid, input [1:0] m_axi_bresp, input m_axi_bvalid, output m_axi_bready,
    output [5:0] m_axi_arid, output [31:0] m_axi_araddr, output [7:0] m_axi_arlen,
    output [2:0] m_axi_arsize, output [1:0] m_axi_arburst, output [3:0] m_axi_arcache,
    output reg m_axi_arvalid, input m_axi_arready,
    input [5:0] m_axi_rid, input [63:0] m_axi_rdata, input [1:0] m_axi_rresp, input m_axi_rlast,
    input m_axi_rvalid, output m_axi_rready);

  localparam NONE = 0, SIZE = 1, FIXED = 2, LONG = 3, UNALIGNED = 4, BOUNDARY = 5, AW_CHANGES = 6,
             AR_CHANGES = 7, W_CHANGES = 8, LAST_EARLY = 9, LAST_MISSING = 10, WRONG_ID = 11,
             W_VANISHES = 12;
  initial begin
    s_axil_bvalid = 0; s_axil_rvalid = 0;
    m_axi_awvalid = 0; m_axi_wvalid = 0; m_axi_arvalid = 0;
  end

  // AXI-Lite. Nothing is taken at 0x10, data is not taken at 0x14, nothing is answered at 0x18.
  wire write = s_axil_awvalid & s_axil_wvalid & ~s_axil_bvalid;
  assign s_axil_awready = write & s_axil_awaddr != 'h10;
  assign s_axil_wready = write & s_axil_awaddr != 'h10 & s_axil_awaddr != 'h14;
  assign s_axil_arready = ~s_axil_rvalid & s_axil_araddr != 'h10;
  assign s_axil_bresp = 0;
  assign s_axil_rresp = s_axil_araddr == 'h20 ? 1 : 0;
  assign s_axil_rdata = 0;
  always @(posedge clk) begin
    s_axil_bvalid <= s_axil_bvalid ? ~s_axil_bready : s_axil_wready & s_axil_awaddr != 'h18;
    s_axil_rvalid <= s_axil_rvalid ? ~s_axil_rready
                   : s_axil_arvalid & s_axil_arready & s_axil_araddr != 'h18;
  end

  // One burst of two beats in each direction.
  reg [3:0] sin = NONE;
  reg beat = 0;
  reg [15:0] age = 0;
  assign irq = 0;
  assign m_axi_awid = 3;
  assign m_axi_arid = 0;
  assign m_axi_awaddr = 'h10000000 + (sin == UNALIGNED ? 4 : sin == BOUNDARY ? 'hff8 : 0)
                      + (sin == AW_CHANGES ? 8 * age : 0);
  assign m_axi_awlen = sin == LONG ? 16 : 1;
  assign m_axi_awsize = sin == SIZE ? 2 : 3;
  assign m_axi_awburst = sin == FIXED ? 0 : 1;
  assign m_axi_awcache = 3;
  assign m_axi_araddr = 'h10000000 + (sin == AR_CHANGES ? 8 * age : 0);
  assign m_axi_arlen = 1;
  assign m_axi_arsize = 3;
  assign m_axi_arburst = 1;
  assign m_axi_arcache = 3;
  assign m_axi_wid = sin == WRONG_ID ? 4 : 3;
  assign m_axi_wdata = sin == W_CHANGES ? age : 0;
  assign m_axi_wstrb = 'hff;
  assign m_axi_wlast = sin == LAST_EARLY ? 1 : sin == LAST_MISSING ? 0 : beat;
  assign m_axi_bready = 1;
  assign m_axi_rready = 1;
  always @(posedge clk) begin
    age <= age + 1;
    if (m_axi_awready) m_axi_awvalid <= 0;
    if (m_axi_arready) m_axi_arvalid <= 0;
    if (m_axi_wvalid & m_axi_wready) begin
      beat <= 1;
      if (beat) m_axi_wvalid <= 0;
    end
    if (m_axi_wvalid & sin == W_VANISHES) m_axi_wvalid <= 0;
    if (s_axil_wready & s_axil_awaddr == 0) begin
      sin <= s_axil_wdata;
      beat <= 0;
      m_axi_awvalid <= 1;
      m_axi_arvalid <= 1;
      m_axi_wvalid <= 1;
    end
  end
endmodule
