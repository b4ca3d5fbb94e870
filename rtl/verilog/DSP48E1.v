// Simulation model of the 7 series primitive DSP48E1, written for speed under Verilator.
//
// Tables and sections are those of UG479 (v1.10), "7 Series DSP48E1 Slice User Guide", chapter 2.
// Ports and parameters are the primitive's (tables 2-2 and 2-3). Registers start at zero, as after
// configuration. Every parameter is a constant, so an unused register or path folds away.
//
// Modelled: both A and B registers, D, AD, C, M, P and the control registers with their enables and
// resets; the pre-adder; X, Y and Z multiplexers with the 17-bit shifts; add and subtract; CARRYIN;
// the A, B and P cascades; PATTERNDETECT of a fixed pattern.
// Not modelled, and zero: CARRYOUT, CARRYCASCOUT, MULTSIGNOUT, the pattern detector's other flags.
// Refused with $fatal: SIMD, SEL_PATTERN = C, the automatic reset, inverted pins, CARRYINSEL other
// than CARRYIN, the logic unit (ALUMODE[3:2] != 0) and Z = P for wide MACC extension (OPMODE[6:4] =
// 100).
`default_nettype none

module DSP48E1 #(
    parameter integer ACASCREG = 1,
    parameter integer ADREG = 1,
    parameter integer ALUMODEREG = 1,
    parameter integer AREG = 1,
    parameter AUTORESET_PATDET = "NO_RESET",
    parameter A_INPUT = "DIRECT",
    parameter integer BCASCREG = 1,
    parameter integer BREG = 1,
    parameter B_INPUT = "DIRECT",
    parameter integer CARRYINREG = 1,
    parameter integer CARRYINSELREG = 1,
    parameter integer CREG = 1,
    parameter integer DREG = 1,
    parameter integer INMODEREG = 1,
    parameter integer MREG = 1,
    parameter integer OPMODEREG = 1,
    parameter integer PREG = 1,
    parameter SEL_MASK = "MASK",
    parameter SEL_PATTERN = "PATTERN",
    parameter USE_DPORT = "FALSE",
    parameter USE_MULT = "MULTIPLY",
    parameter USE_PATTERN_DETECT = "NO_PATDET",
    parameter USE_SIMD = "ONE48",
    parameter [47:0] MASK = 48'h3FFFFFFFFFFF,
    parameter [47:0] PATTERN = 48'h000000000000,
    parameter [3:0] IS_ALUMODE_INVERTED = 4'b0,
    parameter [0:0] IS_CARRYIN_INVERTED = 1'b0,
    parameter [0:0] IS_CLK_INVERTED = 1'b0,
    parameter [4:0] IS_INMODE_INVERTED = 5'b0,
    parameter [6:0] IS_OPMODE_INVERTED = 7'b0
) (
    output wire [29:0] ACOUT,
    output wire [17:0] BCOUT,
    output wire CARRYCASCOUT,
    output wire [3:0] CARRYOUT,
    output wire MULTSIGNOUT,
    output wire OVERFLOW,
    output wire [47:0] P,
    output wire PATTERNBDETECT,
    output wire PATTERNDETECT,
    output wire [47:0] PCOUT,
    output wire UNDERFLOW,
    input wire [29:0] A,
    input wire [29:0] ACIN,
    input wire [3:0] ALUMODE,
    input wire [17:0] B,
    input wire [17:0] BCIN,
    input wire [47:0] C,
    input wire CARRYCASCIN,
    input wire CARRYIN,
    input wire [2:0] CARRYINSEL,
    input wire CEA1,
    input wire CEA2,
    input wire CEAD,
    input wire CEALUMODE,
    input wire CEB1,
    input wire CEB2,
    input wire CEC,
    input wire CECARRYIN,
    input wire CECTRL,
    input wire CED,
    input wire CEINMODE,
    input wire CEM,
    input wire CEP,
    input wire CLK,
    input wire [24:0] D,
    input wire [4:0] INMODE,
    input wire MULTSIGNIN,
    input wire [6:0] OPMODE,
    input wire [47:0] PCIN,
    input wire RSTA,
    input wire RSTALLCARRYIN,
    input wire RSTALUMODE,
    input wire RSTB,
    input wire RSTC,
    input wire RSTCTRL,
    input wire RSTD,
    input wire RSTINMODE,
    input wire RSTM,
    input wire RSTP
);
    initial begin
        if (USE_SIMD != "ONE48") $fatal(1, "DSP48E1 model: USE_SIMD must be ONE48");
        if (SEL_PATTERN != "PATTERN" || AUTORESET_PATDET != "NO_RESET")
            $fatal(1, "DSP48E1 model: SEL_PATTERN = C and the automatic reset are not modelled");
        if ({IS_ALUMODE_INVERTED, IS_CARRYIN_INVERTED, IS_CLK_INVERTED, IS_INMODE_INVERTED,
             IS_OPMODE_INVERTED} != 18'd0)
            $fatal(1, "DSP48E1 model: inverted pins are not modelled");
    end

    // Registers start at zero, as UG479 promises after configuration, and have a reset as well.
    /* verilator lint_off PROCASSINIT */
    // "CASCADE" and "DIRECT" differ in length.
    /* verilator lint_off WIDTHEXPAND */

    // Each register is present whatever its parameter says; the wire beside it takes it or the
    // value before it, and a register that nobody takes is swept away.

    // Dual A registers (section A, B, C, and D Ports; table 2-2: CEA1, CEA2). A1 exists when AREG
    // is 1 too, for INMODE[0] = 1; A2 follows A1 only when AREG is 2.
    wire [29:0] a_in = A_INPUT == "CASCADE" ? ACIN : A;
    reg [29:0] a1_q = 30'd0, a2_q = 30'd0;
    always @(posedge CLK)
        if (RSTA) a1_q <= 30'd0;
        else if (CEA1) a1_q <= a_in;
    always @(posedge CLK)
        if (RSTA) a2_q <= 30'd0;
        else if (CEA2) a2_q <= AREG == 2 ? a1_q : a_in;
    wire [29:0] a1 = AREG == 0 ? a_in : a1_q;
    wire [29:0] a2 = AREG == 0 ? a_in : a2_q;
    assign ACOUT = (ACASCREG == 1 && AREG == 2) ? a1 : a2;  // table 2-3: ACASCREG

    // Dual B registers (table 2-2: CEB1, CEB2), the same for INMODE[4].
    wire [17:0] b_in = B_INPUT == "CASCADE" ? BCIN : B;
    reg [17:0] b1_q = 18'd0, b2_q = 18'd0;
    always @(posedge CLK)
        if (RSTB) b1_q <= 18'd0;
        else if (CEB1) b1_q <= b_in;
    always @(posedge CLK)
        if (RSTB) b2_q <= 18'd0;
        else if (CEB2) b2_q <= BREG == 2 ? b1_q : b_in;
    wire [17:0] b1 = BREG == 0 ? b_in : b1_q;
    wire [17:0] b2 = BREG == 0 ? b_in : b2_q;
    assign BCOUT = (BCASCREG == 1 && BREG == 2) ? b1 : b2;  // table 2-3: BCASCREG

    reg [24:0] d_q = 25'd0;
    always @(posedge CLK)
        if (RSTD) d_q <= 25'd0;
        else if (CED) d_q <= D;
    wire [24:0] d = DREG == 0 ? D : d_q;

    reg [47:0] c_q = 48'd0;
    always @(posedge CLK)
        if (RSTC) c_q <= 48'd0;
        else if (CEC) c_q <= C;
    wire [47:0] c = CREG == 0 ? C : c_q;

    // Control registers (section OPMODE, ALUMODE, and CARRYINSEL Port Logic). INMODE changes the
    // pre-adder in the cycle in which A and D, registered with it, arrive there.
    reg [4:0] inmode_q = 5'd0;
    always @(posedge CLK)
        if (RSTINMODE) inmode_q <= 5'd0;
        else if (CEINMODE) inmode_q <= INMODE;
    wire [4:0] inmode = INMODEREG == 0 ? INMODE : inmode_q;

    reg [6:0] opmode_q = 7'd0;
    always @(posedge CLK)
        if (RSTCTRL) opmode_q <= 7'd0;
        else if (CECTRL) opmode_q <= OPMODE;
    wire [6:0] opmode = OPMODEREG == 0 ? OPMODE : opmode_q;

    reg [1:0] alumode_q = 2'd0;
    always @(posedge CLK)
        if (RSTALUMODE) alumode_q <= 2'd0;
        else if (CEALUMODE) alumode_q <= ALUMODE[1:0];
    wire [1:0] alumode = ALUMODEREG == 0 ? ALUMODE[1:0] : alumode_q;

    reg carry_q = 1'b0;
    always @(posedge CLK)
        if (RSTALLCARRYIN) carry_q <= 1'b0;
        else if (CECARRYIN) carry_q <= CARRYIN;
    wire carry = CARRYINREG == 0 ? CARRYIN : carry_q;

    always @(posedge CLK) begin
        if (CARRYINSEL != 3'd0) $fatal(1, "DSP48E1 model: CARRYINSEL must be 0");
        if (ALUMODE[3:2] != 2'd0) $fatal(1, "DSP48E1 model: the logic unit is not modelled");
        if (OPMODE[6:4] == 3'd4) $fatal(1, "DSP48E1 model: MACC extension is not modelled");
    end

    // Pre-adder and multiplexer before the multiplier (table 2-5: INMODE[3:0]; table 2-6:
    // INMODE[4]). Without the D port the A register goes to the multiplier (table 2-3: USE_DPORT).
    wire signed [24:0] a_gated =
        inmode[1] ? 25'sd0 : inmode[0] ? $signed(a1[24:0]) : $signed(a2[24:0]);
    wire signed [24:0] d_gated = inmode[2] ? $signed(d) : 25'sd0;
    wire signed [24:0] ad_sum = inmode[3] ? d_gated - a_gated : d_gated + a_gated;
    reg signed [24:0] ad_q = 25'sd0;
    always @(posedge CLK)
        if (RSTD) ad_q <= 25'sd0;  // table 2-2: RSTD resets D and AD
        else if (CEAD) ad_q <= ad_sum;
    wire signed [24:0] a_mult =
        USE_DPORT != "TRUE" ? a_gated : ADREG == 0 ? ad_sum : ad_q;
    wire signed [17:0] b_mult = inmode[4] ? $signed(b1) : $signed(b2);

    // 25 x 18 multiplier (section Two's Complement Multiplier); its two partial products enter X
    // and Y together, so that here X carries the product and Y zero.
    wire signed [42:0] product = USE_MULT == "NONE" ? 43'sd0 : a_mult * b_mult;
    reg signed [42:0] m_q = 43'sd0;
    always @(posedge CLK)
        if (RSTM) m_q <= 43'sd0;
        else if (CEM) m_q <= product;
    wire signed [42:0] m = MREG == 0 ? product : m_q;

    // X, Y and Z multiplexers (tables 2-7, 2-8 and 2-9). P is fed back only when PREG is 1.
    reg [47:0] p_q = 48'd0;
    wire [47:0] x = opmode[1] ? (opmode[0] ? {a2, b2} : p_q)
                  : opmode[0] ? {{5{m[42]}}, m} : 48'd0;
    wire [47:0] y = opmode[3] ? (opmode[2] ? c : {48{1'b1}}) : 48'd0;
    wire [47:0] z_source = opmode[5] ? (opmode[4] ? c : p_q) : opmode[4] ? PCIN : 48'd0;
    wire [47:0] z = !opmode[6] ? z_source
                  : opmode[5] ? {{17{p_q[47]}}, p_q[47:17]} : {{17{PCIN[47]}}, PCIN[47:17]};

    // Three-input add and subtract (table 2-10): 0000 Z + X + Y + CIN, 0011 Z - (X + Y + CIN),
    // 0001 and 0010 the two other inversions.
    wire [47:0] sum = (z ^ {48{alumode[0]}}) + x + y + {47'd0, carry};
    wire [47:0] result = sum ^ {48{alumode[1]}};
    always @(posedge CLK)
        if (RSTP) p_q <= 48'd0;
        else if (CEP) p_q <= result;
    assign P = PREG == 0 ? result : p_q;
    assign PCOUT = P;

    // Section Pattern Detect Logic, table 2-3: a mask bit of 1 leaves that bit out.
    wire [47:0] mask = SEL_MASK == "C" ? c : SEL_MASK == "ROUNDING_MODE1" ? {~c[46:0], 1'b0}
                     : SEL_MASK == "ROUNDING_MODE2" ? {~c[45:0], 2'b0} : MASK;
    wire found = USE_PATTERN_DETECT == "PATDET" && ((result ^ PATTERN) & ~mask) == 48'd0;
    reg found_q = 1'b0;
    always @(posedge CLK)
        if (RSTP) found_q <= 1'b0;
        else if (CEP) found_q <= found;
    assign PATTERNDETECT = PREG == 0 ? found : found_q;

    assign CARRYOUT = 4'd0;
    assign {CARRYCASCOUT, MULTSIGNOUT, OVERFLOW, UNDERFLOW, PATTERNBDETECT} = 5'd0;
    /* verilator lint_on PROCASSINIT */
    /* verilator lint_on WIDTHEXPAND */

    /* verilator lint_off UNUSEDSIGNAL */
    wire unmodelled = &{1'b0, CARRYCASCIN, MULTSIGNIN, CARRYINSELREG[0]};
    /* verilator lint_on UNUSEDSIGNAL */
endmodule

`default_nettype wire
