public import XTunerNN

/// Parameters, floating-point work and cache sizes of a model, read off its parts.
public struct ModelFacts: Sendable, Hashable {
  /// All parameters that are trained; buffers such as selection biases are not counted.
  public let parameterCount: Int
  /// Parameters that one token passes through, embedding and head included.
  public let activeParameterCount: Int
  /// Active parameters that take part in a matrix product: without the embedding, with the head.
  public let computedParameterCount: Int
  /// Parameters of routed experts.
  public let expertParameterCount: Int
  /// Elements of keys and values, or of what stands for them, that a cache keeps of each token.
  public let cachedElementsPerToken: Int
  /// The projection onto the vocabulary.
  public let headParameterCount: Int
  /// What each block is to a planner, first to last.
  public let blocks: [BlockFacts]

  /// What one block is to a planner.
  public struct BlockFacts: Sendable, Hashable {
    /// Parameters that one token passes through.
    public let activeParameterCount: Int
    /// The work between attention's projections; nil where tokens are not mixed.
    public let attention: AttentionWork?
    /// The heads that a sequence exchange spreads over ranks; nil where tokens are not mixed.
    public let heads: HeadCounts?
    /// Routed experts; nil where every token passes the same weights.
    public let experts: RoutedExperts?
  }

  init(source: TokenEmbedding, blocks: [any Block], head: OutputHead) {
    let trained = { (parameters: [Parameter]) in parameters.filter { $0.role != .replicated } }
    let count = { (parameters: [Parameter]) in parameters.reduce(0) { $0 + $1.elementCount } }
    let own = blocks.map { block in
      let parameters = trained(block.parameters)
      let experts = count(parameters.filter { $0.role == .expert })
      let all = count(parameters)
      let active = block.routedExperts.map { experts / $0.count * $0.perToken } ?? experts
      return (all: all, experts: experts, active: all - experts + active)
    }
    let ends = count(source.parameters) + count(head.parameters)
    parameterCount = ends + own.reduce(0) { $0 + $1.all }
    activeParameterCount = ends + own.reduce(0) { $0 + $1.active }
    computedParameterCount =
      activeParameterCount - (head.weight == nil ? 0 : count(source.parameters))
    expertParameterCount = own.reduce(0) { $0 + $1.experts }
    cachedElementsPerToken = blocks.reduce(0) { $0 + ($1.attention?.cachedElementCount ?? 0) }
    headParameterCount = head.projection.elementCount
    self.blocks = zip(blocks, own).map { block, counts in
      BlockFacts(
        activeParameterCount: counts.active, attention: block.attention?.work,
        heads: block.attention?.heads, experts: block.routedExperts)
    }
  }

  /// Floating-point operations to train on one token, in forward and backward together.
  ///
  /// `effectiveLength` is `Σ length² / Σ length` over the samples of a pack, which is the sequence
  /// length for one unpacked document. The causal half is accounted for; recomputation is not
  /// counted.
  public func trainingOperationsPerToken(effectiveLength: Double) -> Double {
    let attention = blocks.lazy.compactMap(\.attention).reduce(0.0) { sum, work in
      let window = work.window.map { 2 * Double($0) } ?? .infinity
      return sum + Double(work.size) * min(effectiveLength, window)
    }
    return 6 * Double(computedParameterCount) + 3 * attention
  }
}
