"""Forward-mode differentiation by operator overloading, with gradient registers and pruning.

::

    graph = AutoFore(pruning=16)
    a, b = graph.val(2), graph.val(1).derivable()
    e = (a + b) * (b + 1)
    print(e.value, e.get(b))            # 6.0 5.0

A :class:`Variable` carries its value and its derivatives by the weights of its :class:`AutoFore`,
so there is no backward pass (R. E. Wengert, "A simple automatic derivative evaluation program",
1964). A neuron's :meth:`Variable.pruning` keeps the K largest of them, as K registers would: the
"dynamic pruning in forward mode" of the DPFM workshop, whose interface this library has. The
example is that of C. Olah, "Calculus on computational graphs: backpropagation", 2015.
"""

from .graph import AutoFore
from .registers import largest
from .variable import ConstantError, ForeignVariableError, Operand, Variable

__all__ = ["AutoFore", "ConstantError", "ForeignVariableError", "Operand", "Variable", "largest"]
