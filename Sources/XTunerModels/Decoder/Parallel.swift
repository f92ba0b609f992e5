public import Torch
public import XTunerNN
public import XTunerParallel

/// The memory of a whole model: one flat unit for the embedding, each layer and the head.
public final class ModelUnits {
  /// The token embeddings.
  public let embedding: FlatUnit
  /// One unit a decoder layer.
  public let layers: [FlatUnit]
  /// The final norm and the projection.
  public let head: FlatUnit

  /// Takes memory for all parameters of `model`.
  public init(
    _ model: CausalLanguageModel, computeDType: DType, purpose: FlatUnit.Purpose,
    decays: (Parameter) -> Bool = { $0.kind == .matrix || $0.kind == .embedding }
  ) {
    func unit(_ name: String, _ parameters: [Parameter]) -> FlatUnit {
      FlatUnit(
        name: name, parameters: parameters, computeDType: computeDType, purpose: purpose,
        decays: decays)
    }
    self.embedding = unit("embedding", model.embedding.parameters)
    self.layers = model.layers.map { unit($0.name, $0.parameters) }
    self.head = unit("head", model.head.parameters)
  }

  /// All units, in the order of the forward pass.
  public var all: [FlatUnit] { [embedding] + layers + [head] }

  /// The unit of each parameter, by name.
  public func unit(of parameter: Parameter) -> FlatUnit {
    guard let unit = all.first(where: { $0.slots.contains { $0.parameter === parameter } }) else {
      preconditionFailure("\(parameter.name) is in no unit")
    }
    return unit
  }

  /// Where a parameter's weights are written; a view of its shape.
  public func writableView(of parameter: Parameter) -> Tensor {
    unit(of: parameter).writableView(of: parameter)
  }

  /// Copies master weights into the compute copies.
  public func publish() {
    for unit in all { unit.publish() }
  }

  /// Draws first weights; a function of the seed and names alone.
  public func initialize(seed: UInt64) {
    for unit in all { unit.initialize(seed: seed) }
  }
}
