// Yosys's model of the primitive (its module renamed DSP48E1_yosys) and ours, side by side, under
// the same random stimulus, in several parametrisations at once. Prints, for each, the number of
// cycles compared.
module dsp48e1_oracle #(
    parameter integer SEED = 1, CYCLES = 20000
);
    pair #(.BREG(2), .SEED(SEED), .CYCLES(CYCLES)) array ();
    pair #(.AREG(2), .BREG(2), .DPORT(0), .SEED(SEED + 1), .CYCLES(CYCLES)) two_stages ();
    pair #(.AREG(2), .ACASCREG(2), .BREG(2), .BCASCREG(2), .CASCADE(1), .SEED(SEED + 2),
           .CYCLES(CYCLES)) cascade ();
    pair #(.AREG(0), .ACASCREG(0), .BREG(0), .BCASCREG(0), .ADREG(0), .DREG(0), .CREG(0), .MREG(0),
           .CONTROL(0), .SEED(SEED + 3), .CYCLES(CYCLES)) only_p ();
    pair #(.PREG(0), .MREG(0), .SEED(SEED + 4), .CYCLES(CYCLES)) no_p ();
    pair #(.BREG(2), .CONTROL(0), .ADREG(0), .SEED(SEED + 5), .CYCLES(CYCLES)) direct_control ();

    initial wait (array.done && two_stages.done && cascade.done && only_p.done && no_p.done
                  && direct_control.done) $finish;
endmodule

module pair #(
    parameter integer AREG = 1, ACASCREG = 1, BREG = 1, BCASCREG = 1, ADREG = 1, DREG = 1, CREG = 1,
    parameter integer MREG = 1, PREG = 1, CONTROL = 1, CASCADE = 0, DPORT = 1,
    parameter integer SEED = 1, CYCLES = 20000
);
    localparam SOURCE = CASCADE != 0 ? "CASCADE" : "DIRECT";
    localparam USE_DPORT = DPORT != 0 ? "TRUE" : "FALSE";

    reg clk = 0;
    reg [29:0] a, acin;
    reg [17:0] b, bcin;
    reg [24:0] d;
    reg [47:0] c, pcin;
    reg [4:0] inmode;
    reg [6:0] opmode;
    reg [3:0] alumode;
    reg carryin;
    reg [12:0] ce;
    reg [9:0] rst;
    wire [29:0] acout, acout_yosys;
    wire [17:0] bcout, bcout_yosys;
    wire [47:0] p, p_yosys, pcout, pcout_yosys;

`define PINS(SUFFIX) \
    .ACOUT(acout``SUFFIX), .BCOUT(bcout``SUFFIX), .CARRYCASCOUT(), .CARRYOUT(), .MULTSIGNOUT(), \
    .OVERFLOW(), .P(p``SUFFIX), .PATTERNBDETECT(), .PATTERNDETECT(), .PCOUT(pcout``SUFFIX), \
    .UNDERFLOW(), .A(a), .ACIN(acin), .ALUMODE(alumode), .B(b), .BCIN(bcin), .C(c), \
    .CARRYCASCIN(1'b0), .CARRYIN(carryin), .CARRYINSEL(3'd0), .CEA1(ce[0]), .CEA2(ce[1]), \
    .CEAD(ce[2]), .CEALUMODE(ce[3]), .CEB1(ce[4]), .CEB2(ce[5]), .CEC(ce[6]), .CECARRYIN(ce[7]), \
    .CECTRL(ce[8]), .CED(ce[9]), .CEINMODE(ce[10]), .CEM(ce[11]), .CEP(ce[12]), .CLK(clk), .D(d), \
    .INMODE(inmode), .MULTSIGNIN(1'b0), .OPMODE(opmode), .PCIN(pcin), .RSTA(rst[0]), \
    .RSTALLCARRYIN(rst[1]), .RSTALUMODE(rst[2]), .RSTB(rst[3]), .RSTC(rst[4]), .RSTCTRL(rst[5]), \
    .RSTD(rst[6]), .RSTINMODE(rst[7]), .RSTM(rst[8]), .RSTP(rst[9])
`define PARAMETERS \
    .AREG(AREG), .ACASCREG(ACASCREG), .BREG(BREG), .BCASCREG(BCASCREG), .ADREG(ADREG), \
    .DREG(DREG), .CREG(CREG), .MREG(MREG), .PREG(PREG), .OPMODEREG(CONTROL), \
    .ALUMODEREG(CONTROL), .INMODEREG(CONTROL), .CARRYINREG(CONTROL), .CARRYINSELREG(CONTROL), \
    .A_INPUT(SOURCE), .B_INPUT(SOURCE), .USE_DPORT(USE_DPORT)

    DSP48E1 #(`PARAMETERS) ours (`PINS());
    DSP48E1_yosys #(`PARAMETERS) oracle (`PINS(_yosys));

    function automatic [47:0] random48();
        // Extremes as often as ordinary values.
        case ($urandom_range(7))
            0: return 48'd0;
            1: return {48{1'b1}};
            2: return {1'b0, {47{1'b1}}};
            3: return {1'b1, 47'd0};
            default: return {16'($urandom), $urandom};
        endcase
    endfunction

    function automatic [24:0] random25();
        case ($urandom_range(5))
            0: return 25'h1000000;
            1: return 25'h0FFFFFF;
            default: return 25'($urandom);
        endcase
    endfunction

    // Pairs of X and Y, and Z, that tables 2-7 to 2-9 allow; P needs its register.
    function automatic [6:0] random_opmode();
        bit [2:0] z;
        bit [3:0] yx;
        do z = 3'($urandom); while (z == 4 || z == 7 || (PREG == 0 && (z == 2 || z == 6)));
        do yx = 4'($urandom);
        while ((yx[1:0] == 1) != (yx[3:2] == 1) || (PREG == 0 && yx[1:0] == 2));
        return {z, $urandom_range(1) == 1 ? 4'b0101 : yx};
    endfunction

    task automatic draw();
        a = {5'($urandom), random25()};
        acin = {5'($urandom), random25()};
        b = $urandom_range(3) == 0 ? 18'h20000 : 18'($urandom);
        bcin = 18'($urandom);
        d = random25();
        c = random48();
        pcin = random48();
        // Rows of table 2-5: subtraction and D need the D port.
        inmode = DPORT != 0 ? 5'($urandom) : 5'($urandom) & 5'b10011;
        opmode = random_opmode();
        alumode = 4'($urandom_range(3));
        carryin = 1'($urandom);
        ce = 13'($urandom) | 13'($urandom) | 13'($urandom);
        rst = 10'($urandom) & 10'($urandom) & 10'($urandom) & 10'($urandom);
    endtask

    task automatic compare();
        if ({p, pcout, acout, bcout} !== {p_yosys, pcout_yosys, acout_yosys, bcout_yosys})
            $fatal(1, "%m: ours p %h acout %h bcout %h, yosys p %h acout %h bcout %h",
                   p, acout, bcout, p_yosys, acout_yosys, bcout_yosys);
    endtask

    bit done = 0;
    integer seeded;
    initial begin
        seeded = $urandom(SEED);
        draw();
        for (integer cycle = 0; cycle < CYCLES; cycle++) begin
            #1 compare();  // the paths without registers
            clk = 1;
            #1 compare();
            clk = 0;
            draw();
        end
        $display("%m: compared %0d cycles", CYCLES);
        done = 1;
    end
endmodule
