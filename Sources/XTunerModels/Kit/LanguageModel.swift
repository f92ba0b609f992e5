public import Torch
public import XTunerNN

/// A decoder language model as a source, blocks and a head, whatever its family.
///
/// Built without memory: an engine gives the parameters their tensors. Nothing here knows of
/// sharding, schedules or optimizers.
public final class LanguageModel: Module {
  /// What the model is.
  public let configuration: ModelConfiguration
  /// Makes the first hidden states out of tokens.
  public let source: TokenEmbedding
  /// The blocks, first to last.
  public let blocks: [any Block]
  /// The final norm and the projection onto the vocabulary.
  public let head: OutputHead
  /// Counts and work, read off the parts.
  public let facts: ModelFacts
  private let contexts: (ModelInput, Device) -> [ForwardContext]

  /// A model from its parts; `contexts` gives a context for each block, one object for those that see a
  /// pack in the same way.
  public init(
    _ configuration: ModelConfiguration, source: TokenEmbedding, blocks: [any Block],
    head: OutputHead, contexts: @escaping (ModelInput, Device) -> [ForwardContext]
  ) {
    self.configuration = configuration
    self.source = source
    self.blocks = blocks
    self.head = head
    self.contexts = contexts
    self.facts = ModelFacts(source: source, blocks: blocks, head: head)
  }

  /// All parameters, in the order of the forward pass.
  public var parameters: [Parameter] {
    source.parameters + blocks.flatMap(\.parameters) + head.parameters
  }

  /// Where the parameters are, once they have memory, and with them everything that is computed.
  public var device: Device { source.weight.value.device }

  /// What each block needs to know about a pack.
  public func makeContexts(_ input: ModelInput) -> [ForwardContext] { contexts(input, device) }

  /// Hidden states `[T, D]` after the last block, for tokens `[T]`; single-device forward.
  public func hiddenStates(_ tokensT: Tensor, _ contexts: [ForwardContext]) -> Tensor {
    zip(blocks, contexts).reduce(source(tokensT)) { hidden, next in next.0(hidden, next.1) }
  }

  /// The matrices of all layers of a kind, in the order of the forward pass.
  public func matrices(of module: Float8Module) -> [Parameter] {
    if module == .head { return [head.projection] }
    return blocks.flatMap { $0.parameters(of: module) }
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

/// One pack as a model's blocks see it.
public struct ModelInput {
  /// Where samples start and end, from 0 to the token count of the whole pack.
  public var bounds: [Int]
  /// The tokens of this rank, where a pack is spread over ranks; else all.
  public var tokens: Range<Int>
  /// Positions, `[T]` int64; they count from 0 in each sample when they are not given.
  public var positions: Tensor?
  /// The key-value cache of a generation; nil in training.
  public var cache: KeyValueCache?

  /// A pack from its bounds.
  public init(
    bounds: [Int], tokens: Range<Int>? = nil, positions: Tensor? = nil,
    cache: KeyValueCache? = nil
  ) {
    self.bounds = bounds
    self.tokens = tokens ?? 0..<(bounds.last ?? 0)
    self.positions = positions
    self.cache = cache
  }

  /// The tokens of each sample, those that a cache holds included.
  var lengths: [Int] {
    cache?.lengths ?? zip(bounds, bounds.dropFirst()).map { $1 - $0 }
  }

  /// The positions as given, or counted from 0 in each sample.
  func positions(on device: Device) -> Tensor {
    if let positions { return positions }
    var counted: [Int64] = []
    counted.reserveCapacity(tokens.count)
    for (start, end) in zip(bounds, bounds.dropFirst()) {
      for token in (start..<end).clamped(to: tokens) { counted.append(Int64(token - start)) }
    }
    return Tensor(counted, device: device)
  }
}

extension ForwardContext {
  /// The context of causal attention inside each sample, with one rotary table.
  public convenience init(_ input: ModelInput, _ rotary: RotaryConfiguration, on device: Device) {
    self.init(
      bounds: Tensor(hostElements: input.bounds.map(Int64.init), for: device),
      rotary: RotaryTable(
        positions: input.positions(on: device),
        inverseFrequencies: rotary.inverseFrequencies(input, on: device),
        factor: rotary.attentionFactor, isInterleaved: rotary.isInterleaved),
      cache: input.cache)
  }
}

extension RotaryConfiguration {
  /// `[d/2]`, or `[T, d/2]` where a sample is so long that the dynamic scaling gives it frequencies of
  /// its own: a sample's numbers do not depend on those beside it.
  fileprivate func inverseFrequencies(_ input: ModelInput, on device: Device) -> Tensor {
    let lengths = input.lengths
    guard case .dynamic(_, let original) = scaling, lengths.contains(where: { $0 > original })
    else { return Tensor(inverseFrequencies(), device: device) }
    var frequencies: [Float] = []
    frequencies.reserveCapacity(input.tokens.count * rotatedSize / 2)
    for (sample, length) in lengths.enumerated() {
      let own = (input.bounds[sample]..<input.bounds[sample + 1]).clamped(to: input.tokens)
      guard !own.isEmpty else { continue }
      let set = inverseFrequencies(length: length)
      for _ in own { frequencies += set }
    }
    return Tensor(frequencies, device: device).view([input.tokens.count, rotatedSize / 2])
  }
}
