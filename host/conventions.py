"""What the parts of a compiled program agree on: registers' use, and the rules' flags."""

from __future__ import annotations

from tangente.golden.isa import Flag, Reg, Rule

# What the free registers hold throughout a program.
BATCHES = Reg.R0
DDR_INPUT = Reg.R1
DDR_TARGET = Reg.R2
INPUT_PAIRS = Reg.R3     # scalars of the batch that is computed
NEXT_INPUT = Reg.R4      # input memory, beat to which the next batch is loaded
NEXT_TARGET = Reg.R5
PAIR_RECORD = Reg.R6     # pairs of the sample whose registers are computed; scratch elsewhere
COUNT = Reg.R7           # samples of the batch
# Transfers take copies of their registers, so these are free while samples are walked over.
ROW_RECORD = Reg.DDR
SAMPLES = Reg.LENGTH
REGISTER_RECORD = Reg.LOCAL
# Registers of lists are free without them.
LAST_INPUT = Reg.L_BASE
# Registers of DRV are free without it: where the first hidden layer's activations lie, of the
# sample that is computed and of the one that is learnt.
ACTIVATIONS = Reg.R_BASE
LAST_ACTIVATIONS = Reg.TILES
# Likewise where nothing is learnt.
DDR_LOGITS = Reg.R_BASE

# Weight registers walk over lists and inputs too.
LIST_RECORD = Reg.DDR
SAMPLE_INPUT = Reg.LOCAL
THRESHOLD = Reg.R_STRIDE

NO_FLAGS = Flag(0)
#: Update rules by their names in the options.
RULES = {"nearest": Rule.NEAREST, "stochastic": Rule.STOCHASTIC, "event": Rule.EVENT,
          "master": Rule.MASTER}
