public import Torch

/// What mixes the tokens of a decoder block, up to the values that its output projection takes.
public protocol AttentionPart: Module {
  /// The heads that a sequence exchange spreads over ranks.
  var heads: HeadCounts { get }
  /// What work the scores and the mixing are.
  var work: AttentionWork { get }
  /// Elements that a cache keeps of each token.
  var cachedElementCount: Int { get }
  /// The stages from the hidden states, which `norm` normalises, to `.attended`.
  func stages(norm: RMSNorm) -> [Stage]
  /// Projects `.attended` onto hidden states, `[T, D]`.
  func output(_ attended: Tensor) -> Tensor
}

/// What decides the floating-point work between the projections of attention.
public struct AttentionWork: Sendable, Hashable {
  /// Entries of a query head and of a value head, over all heads.
  public let size: Int
  /// How many keys a query sees at most, itself included; nil for all.
  public let window: Int?

  /// Work from its parts.
  public init(size: Int, window: Int?) {
    self.size = size
    self.window = window
  }
}

/// What a decoder block does with each token after attention.
public protocol FeedForwardPart: Module {
  /// The experts that tokens are routed to; nil where every token passes the same weights.
  var routedExperts: RoutedExperts? { get }
  /// The parameters of one kind of layer, in the order of the forward pass.
  func parameters(of module: Float8Module) -> [Parameter]
  /// The stages from the hidden states and `.attended` to `.output`.
  func stages(entry: ResidualEntry) -> [Stage]
}

/// Between attention and a feed-forward part: the sum of what entered the block and the attention's
/// output, and what the second norm makes of it.
public struct ResidualEntry {
  private let attention: any AttentionPart
  private let norm: RMSNorm

  /// The entry behind `attention`.
  public init(attention: any AttentionPart, norm: RMSNorm) {
    self.attention = attention
    self.norm = norm
  }

  /// The values that a stage reads which begins so.
  public static let inputs: [StageValue] = [.input, .attended]

  /// The sum, `[T, D]`, and its normalised rows for layers with such products.
  public func callAsFunction(
    _ values: [Tensor], for product: Parameter.Product = .compute
  ) -> (sum: Tensor, normalized: LinearInput) {
    norm.adding(values[0], to: attention.output(values[1]), for: product)
  }
}

extension StageValue {
  /// What attention's output projection takes.
  public static let attended = StageValue("attended")
}

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
