"""The exported graph without the exporter's leftovers: stack traces, doc strings, internal names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def clean(model: onnx.ModelProto, *, input_name: str, output_name: str) -> None:
    """Name the input and the output, and drop everything that does not change the result, in place.

    The exporter stores a Python stack trace with every node, including local paths, and stale types of inner values:
    files made on two machines would differ, and later passes would contradict the types.
    """
    graph = model.graph
    rename(graph, {graph.input[0].name: input_name, graph.output[0].name: output_name})
    del graph.value_info[:]
    del model.metadata_props[:]
    del graph.metadata_props[:]
    graph.name, graph.doc_string, model.doc_string = "edgeseg", "", ""
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]
    drop_unused(graph)


def rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Replace value names everywhere in `graph`, in place."""
    for node in graph.node:
        for values in (node.input, node.output):
            for index, value in enumerate(values):
                values[index] = names.get(value, value)
    for item in (*graph.input, *graph.output, *graph.initializer):
        item.name = names.get(item.name, item.name)


def drop_unused(graph: onnx.GraphProto) -> None:
    """Remove nodes whose results are unused, then unused initializers, in place."""
    needed = {output.name for output in graph.output}
    for node in reversed(list(graph.node)):
        if needed.isdisjoint(node.output):
            graph.node.remove(node)
        else:
            needed.update(node.input)
    for tensor in list(graph.initializer):
        if tensor.name not in needed:
            graph.initializer.remove(tensor)
