//! The texts of a foreign file. They are shown in terminals and stand in the card, where a control
//! character would be an order.

use crate::engine::onnx::tensor_shape_proto::dimension::Value::DimParam;
use crate::engine::onnx::{
    GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, type_proto,
};

/// Writes control characters as `\u{1b}` in all that can be shown: names stay names of the same
/// tensors. Documentation, which is not shown, stays as it is.
pub(super) fn escape(model: &mut ModelProto) {
    plain(&mut model.producer_name);
    plain(&mut model.producer_version);
    for opset in &mut model.opset_import {
        plain(&mut opset.domain);
    }
    graph(model.graph.get_or_insert_default());
}

fn graph(graph: &mut GraphProto) {
    graph.node.iter_mut().for_each(node);
    graph.initializer.iter_mut().for_each(tensor);
    let infos = graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info);
    infos.for_each(info);
}

fn node(node: &mut NodeProto) {
    let texts = [&mut node.name, &mut node.op_type, &mut node.domain].into_iter();
    texts.chain(&mut node.input).chain(&mut node.output).for_each(plain);
    for attribute in &mut node.attribute {
        plain(&mut attribute.name);
        for bytes in std::iter::once(&mut attribute.s).chain(&mut attribute.strings) {
            let mut text = String::from_utf8_lossy(bytes).into_owned();
            if text.contains(char::is_control) {
                plain(&mut text);
                *bytes = text.into_bytes();
            }
        }
        attribute.t.iter_mut().chain(&mut attribute.tensors).for_each(tensor);
        attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(self::graph);
    }
}

fn tensor(tensor: &mut TensorProto) {
    plain(&mut tensor.name);
}

fn info(info: &mut ValueInfoProto) {
    plain(&mut info.name);
    let Some(type_proto::Value::TensorType(tensor)) =
        info.r#type.as_mut().and_then(|kind| kind.value.as_mut())
    else {
        return;
    };
    for side in tensor.shape.iter_mut().flat_map(|shape| &mut shape.dim) {
        if let Some(DimParam(name)) = &mut side.value {
            plain(name);
        }
    }
}

fn plain(text: &mut String) {
    if text.contains(char::is_control) {
        let escaped = |c: char| match c.is_control() {
            true => c.escape_unicode().to_string(),
            false => c.to_string(),
        };
        *text = text.chars().map(escaped).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::onnx::AttributeProto;

    /// U+009B alone is what ESC [ is, and no ASCII.
    #[test]
    fn texts_of_attributes_are_escaped() {
        let attribute = AttributeProto {
            s: "a\u{9b}31m".into(),
            strings: vec![b"b\x1b".to_vec(), vec![0xff, 0xfe]],
            ..Default::default()
        };
        let mut given = NodeProto { attribute: vec![attribute], ..Default::default() };
        node(&mut given);
        assert_eq!(given.attribute[0].s, br"a\u{9b}31m");
        assert_eq!(given.attribute[0].strings, [br"b\u{1b}".to_vec(), vec![0xff, 0xfe]]);
    }
}
