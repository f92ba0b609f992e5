public import XTunerNN

/// A pre-norm decoder layer: `x + attention(norm x)`, then `x + feed-forward(norm x)`.
///
/// It is cut into stages where something may travel between ranks, so that an engine can put the
/// exchanges of one micro-batch under the computation of another; the parts say where.
public final class DecoderBlock: Block {
  /// Unique in the model, such as `layers.3`.
  public let name: String
  /// The stages, in order: those of attention, then those of the feed-forward part.
  public let stages: [Stage]
  private let attentionNorm: RMSNorm
  private let attentionPart: any AttentionPart
  private let feedForwardNorm: RMSNorm
  private let feedForwardPart: any FeedForwardPart

  /// A layer from its norms and parts.
  public init(
    _ name: String, attentionNorm: RMSNorm, attention: any AttentionPart, feedForwardNorm: RMSNorm,
    feedForward: any FeedForwardPart
  ) {
    self.name = name
    self.attentionNorm = attentionNorm
    self.attentionPart = attention
    self.feedForwardNorm = feedForwardNorm
    self.feedForwardPart = feedForward
    self.stages =
      attention.stages(norm: attentionNorm)
      + feedForward.stages(entry: ResidualEntry(attention: attention, norm: feedForwardNorm))
  }

  /// All weights, in the order of the forward pass.
  public var parameters: [Parameter] {
    attentionNorm.parameters + attentionPart.parameters + feedForwardNorm.parameters
      + feedForwardPart.parameters
  }

  /// What mixes its tokens.
  public var attention: (any AttentionPart)? { attentionPart }

  /// The experts that its tokens are routed to, or nil for a dense layer.
  public var routedExperts: RoutedExperts? { feedForwardPart.routedExperts }

  /// The parameters of one kind of layer, in the order of the forward pass.
  public func parameters(of module: Float8Module) -> [Parameter] {
    module == .attention ? attentionPart.parameters : feedForwardPart.parameters(of: module)
  }
}
