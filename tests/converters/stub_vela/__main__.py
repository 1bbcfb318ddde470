"""Stands for Vela in tests: makes a convolution an `ethos-u` operator, leaves the rest, and says so as Vela does."""

import sys
from pathlib import Path

import flatbuffers
from ai_edge_litert import schema_py_generated as schema

SUMMARY = {
    "accelerator_configuration": "Ethos_U55_256", "system_config": "Test_Config", "memory_mode": "Shared_Sram",
    "core_clock": "500000000.0", "inference_time": "0.002", "sram_memory_used": "10.5", "dram_memory_used": "0.0",
    "on_chip_flash_memory_used": "0.0", "off_chip_flash_memory_used": "3.5", "cycles_total": "1000000",
}  # fmt: skip


def main() -> None:
    source, folder = Path(sys.argv[1]), Path(sys.argv[sys.argv.index("--output-dir") + 1])
    if "ethos-u55-32" in sys.argv:
        sys.exit("Error: this network is too large for 32 MACs")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(source.read_bytes(), 0))
    if "ethos-u85-128" not in sys.argv:
        convolution = model.operatorCodes[1]
        convolution.builtinCode = convolution.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        convolution.customCode = "ethos-u"
        operator = model.subgraphs[0].operators[1]
        operator.builtinOptionsType, operator.builtinOptions = 0, None
    builder = flatbuffers.Builder(1 << 12)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    (folder / f"{source.stem}_vela.tflite").write_bytes(bytes(builder.Output()))
    print("Warning (supported operators) operator: CAST, ofm: 'real'\nReason: Unsupported opType\nMore about it\n")
    (folder / "model_summary_Test_Config.csv").write_text(f"{','.join(SUMMARY)}\n{','.join(SUMMARY.values())}\n")
    rows = [
        "Original Operator,Target,Op Cycles,Name",
        "Conv2D,NPU,600,logits",
        "Conv2D,NPU,400,logits",
        "Cast,CPU,0,real",
    ]
    (folder / "model_per-layer.csv").write_text("\n".join(rows) + "\n")


main()
