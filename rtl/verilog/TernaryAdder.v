// Sum of three numbers modulo 2^WIDTH. Synthesised for the 7 series it takes one LUT6_2 a bit and
// one carry chain (UG474, chapter 5): O5 is the carry that bits a, b, c save for the next bit, O6
// their sum with the one saved before, the carry chain adds the two.
`default_nettype none

module TernaryAdder #(
    parameter integer WIDTH = 4
) (
    input wire [WIDTH-1:0] a,
    input wire [WIDTH-1:0] b,
    input wire [WIDTH-1:0] c,
    output wire [WIDTH-1:0] sum
);
`ifdef SYNTHESIS
    localparam integer BLOCKS = (WIDTH + 3) / 4;
    wire [4*BLOCKS:0] saved;
    wire [4*BLOCKS-1:0] propagate, total;
    wire [4*BLOCKS-1:0] carry;
    assign saved[0] = 1'b0;
    genvar i;
    generate
        for (i = 0; i < 4 * BLOCKS; i = i + 1) begin : bits
            if (i < WIDTH) begin : used
                // I5 = 1 takes O6 from the upper half: a ^ b ^ c ^ saved; O5 is the majority.
                LUT6_2 #(.INIT(64'h69966996_E8E8E8E8)) lut (
                    .I0(a[i]), .I1(b[i]), .I2(c[i]), .I3(saved[i]), .I4(1'b0), .I5(1'b1),
                    .O5(saved[i+1]), .O6(propagate[i]));
            end else begin : unused
                assign saved[i+1] = 1'b0;
                assign propagate[i] = 1'b0;
            end
        end
        for (i = 0; i < BLOCKS; i = i + 1) begin : chain
            CARRY4 carry4 (
                .CI(i == 0 ? 1'b0 : carry[i == 0 ? 0 : 4*i-1]), .CYINIT(1'b0),
                .DI(saved[4*i +: 4]), .S(propagate[4*i +: 4]),
                .O(total[4*i +: 4]), .CO(carry[4*i +: 4]));
        end
    endgenerate
    assign sum = total[WIDTH-1:0];
`else
    assign sum = a + b + c;
`endif
endmodule

`default_nettype wire
