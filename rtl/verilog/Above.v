// Whether `enable` and a > b. Synthesised for the 7 series, two bits take one LUT6_2 and one place in
// a carry chain (UG474, chapter 5): O5 says which of them is the larger, O6 that they are equal and
// those below decide.
`default_nettype none

module Above #(
    parameter integer WIDTH = 4
) (
    input wire enable,
    input wire [WIDTH-1:0] a,
    input wire [WIDTH-1:0] b,
    output wire above
);
`ifdef SYNTHESIS
    localparam integer PAIRS = (WIDTH + 1) / 2;
    localparam integer BLOCKS = (PAIRS + 3) / 4;
    wire [2*PAIRS-1:0] one = a;
    wire [2*PAIRS-1:0] other = b;
    wire [4*BLOCKS-1:0] larger, equal, carry;
    genvar i;
    generate
        for (i = 0; i < 4 * BLOCKS; i = i + 1) begin : pairs
            if (i < PAIRS) begin : used
                // I4 = 0: neither larger nor equal. I5 = 1 takes O6 from the upper half.
                LUT6_2 #(.INIT(64'h84210000_08CE0000)) lut (
                    .I0(one[2*i]), .I1(one[2*i+1]), .I2(other[2*i]), .I3(other[2*i+1]),
                    .I4(i == PAIRS - 1 ? enable : 1'b1), .I5(1'b1),
                    .O5(larger[i]), .O6(equal[i]));
            end else begin : unused
                assign larger[i] = 1'b0;
                assign equal[i] = 1'b0;
            end
        end
        for (i = 0; i < BLOCKS; i = i + 1) begin : chain
            CARRY4 carry4 (
                .CI(i == 0 ? 1'b0 : carry[i == 0 ? 0 : 4*i-1]), .CYINIT(1'b0),
                .DI(larger[4*i +: 4]), .S(equal[4*i +: 4]), .CO(carry[4*i +: 4]));
        end
    endgenerate
    assign above = carry[PAIRS-1];
`else
    assign above = enable & (a > b);
`endif
endmodule

`default_nettype wire
