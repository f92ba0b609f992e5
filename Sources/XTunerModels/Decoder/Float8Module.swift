public import Torch
import XTunerMoE
public import XTunerNN

/// A kind of layer whose products can be of float8 operands.
///
/// Embeddings, norms, routers and the attention itself never are: they are small, or decide too much.
public enum Float8Module: String, Sendable, Hashable, CaseIterable {
  /// Projections to queries, keys and values, and attention's output.
  case attention
  /// Dense feed-forward layers.
  case feedForward = "feed_forward"
  /// Routed experts.
  case experts
  /// The expert that every token passes.
  case sharedExpert = "shared_expert"
  /// The projection onto the vocabulary.
  case head

  /// What is quantised unless told otherwise: everything but the head.
  public static let standard: [Float8Module] = allCases.filter { $0 != .head }
}

extension CausalLanguageModel {
  /// The matrices of all layers of a kind, in the order of the forward pass.
  public func matrices(of module: Float8Module) -> [Parameter] {
    if module == .head { return [head.projection] }
    return layers.flatMap { $0.parameters(of: module) }
      .filter { $0.kind == .matrix && $0.precision == .compute }
  }

  /// Multiplies with the matrices of `modules`, and of no others, in float8.
  public func useFloat8(in modules: Set<Float8Module>, products: Float8Products = .emulated) {
    for parameter in parameters { parameter.product = .compute }
    for module in Float8Module.allCases where modules.contains(module) {
      for matrix in matrices(of: module) { matrix.product = .float8(products) }
    }
  }
}

extension DecoderLayer {
  fileprivate func parameters(of module: Float8Module) -> [Parameter] {
    switch (module, feedForward) {
    case (.attention, _): attention.parameters
    case (.feedForward, .dense(let dense)): dense.parameters
    case (.experts, .mixture(let mixture)): mixture.experts.parameters
    case (.sharedExpert, .mixture(let mixture)): mixture.sharedExpert?.parameters ?? []
    case (.feedForward, .mixture), (.experts, .dense), (.sharedExpert, .dense), (.head, _): []
    }
  }
}
