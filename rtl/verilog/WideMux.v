// y = select ? a : b. Synthesised for the 7 series, two bits take one LUT6_2: five inputs, one of
// them shared (UG474, chapter 2).
`default_nettype none

module WideMux #(
    parameter integer WIDTH = 2
) (
    input wire select,
    input wire [WIDTH-1:0] a,
    input wire [WIDTH-1:0] b,
    output wire [WIDTH-1:0] y
);
`ifdef SYNTHESIS
    genvar i;
    generate
        for (i = 0; i < WIDTH; i = i + 2) begin : bits
            if (i + 1 < WIDTH) begin : both
                // O5: I4 ? I0 : I1. I5 = 1 takes O6 from the upper half: I4 ? I2 : I3.
                LUT6_2 #(.INIT(64'hF0F0FF00_AAAACCCC)) lut (
                    .I0(a[i]), .I1(b[i]), .I2(a[i+1]), .I3(b[i+1]), .I4(select), .I5(1'b1),
                    .O5(y[i]), .O6(y[i+1]));
            end else begin : one
                assign y[i] = select ? a[i] : b[i];
            end
        end
    endgenerate
`else
    assign y = select ? a : b;
`endif
endmodule

`default_nettype wire
