// |a| > b, of a signed a of a bit more. Synthesised for the 7 series, two bits take one LUT6_2 and one
// place in a carry chain (UG474, chapter 5): O5 says which of them is the larger, O6 that they are
// equal and those below decide. Of a negative a the complement is looked at, which is one less: the
// carry into the chain says that equal is enough.
`default_nettype none

module MagnitudeAbove #(
    parameter integer WIDTH = 4
) (
    input wire [WIDTH:0] a,
    input wire [WIDTH-1:0] b,
    output wire above
);
`ifdef SYNTHESIS
    localparam integer PAIRS = (WIDTH + 1) / 2;
    localparam integer BLOCKS = (PAIRS + 3) / 4;
    wire sign = a[WIDTH];
    wire [2*PAIRS:0] one = {{2 * PAIRS - WIDTH{sign}}, a};
    wire [2*PAIRS-1:0] other = b;
    wire [4*BLOCKS-1:0] larger, equal, carry;
    genvar i;
    generate
        for (i = 0; i < 4 * BLOCKS; i = i + 1) begin : pairs
            if (i < PAIRS) begin : used
                // I4 = 1 takes the complement. I5 = 1 takes O6 from the upper half.
                LUT6_2 #(.INIT(64'h12488421_013708CE)) lut (
                    .I0(one[2*i]), .I1(one[2*i+1]), .I2(other[2*i]), .I3(other[2*i+1]),
                    .I4(sign), .I5(1'b1), .O5(larger[i]), .O6(equal[i]));
            end else begin : unused
                assign larger[i] = 1'b0;
                assign equal[i] = 1'b0;
            end
        end
        for (i = 0; i < BLOCKS; i = i + 1) begin : chain
            CARRY4 carry4 (
                .CI(i == 0 ? 1'b0 : carry[i == 0 ? 0 : 4*i-1]), .CYINIT(i == 0 ? sign : 1'b0),
                .DI(larger[4*i +: 4]), .S(equal[4*i +: 4]), .CO(carry[4*i +: 4]));
        end
    endgenerate
    assign above = carry[PAIRS-1];
`else
    assign above = (a[WIDTH] ? ~a + 1'b1 : a) > {1'b0, b};
`endif
endmodule

`default_nettype wire
