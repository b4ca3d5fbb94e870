// Whether `enable` and a == b. Synthesised for the 7 series, three bits take one LUT and one place in
// a carry chain (UG474, chapter 5), where a LUT each would have to be joined by others.
`default_nettype none

module Equal #(
    parameter integer WIDTH = 4
) (
    input wire enable,
    input wire [WIDTH-1:0] a,
    input wire [WIDTH-1:0] b,
    output wire equal
);
`ifdef SYNTHESIS
    localparam integer GROUPS = (WIDTH + 3) / 3;
    localparam integer BLOCKS = (GROUPS + 3) / 4;
    wire [3*GROUPS-1:0] differ = {~enable, a ^ b};
    wire [4*BLOCKS-1:0] same, carry;
    genvar i;
    generate
        for (i = 0; i < 4 * BLOCKS; i = i + 1) begin : groups
            assign same[i] = i < GROUPS ? differ[i < GROUPS ? 3*i : 0 +: 3] == 3'd0 : 1'b0;
        end
        for (i = 0; i < BLOCKS; i = i + 1) begin : chain
            CARRY4 carry4 (
                .CI(i == 0 ? 1'b0 : carry[i == 0 ? 0 : 4*i-1]), .CYINIT(i == 0 ? 1'b1 : 1'b0),
                .DI(4'b0), .S(same[4*i +: 4]), .CO(carry[4*i +: 4]));
        end
    endgenerate
    assign equal = carry[GROUPS-1];
`else
    assign equal = enable & (a == b);
`endif
endmodule

`default_nettype wire
