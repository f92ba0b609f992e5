public import Torch
public import XTunerNN

/// The table of token embeddings.
public final class TokenEmbedding: Module {
  /// `[V, D]`.
  public let weight: Parameter

  /// The name of the one parameter.
  static let weightName = "embedding.weight"

  /// Declares the table.
  public init(vocabularySize: Int, hiddenSize: Int, standardDeviation: Double) {
    self.weight = Parameter(
      Self.weightName, shape: [vocabularySize, hiddenSize], kind: .embedding,
      initializer: .normal(standardDeviation: standardDeviation))
  }

  /// The table.
  public var parameters: [Parameter] { [weight] }

  /// Returns `[T, D]` for tokens `[T]` int64.
  public func callAsFunction(_ tokensT: Tensor) -> Tensor {
    Tensor.embeddingLookup(weight: weight.value, indices: tokensT)
  }
}

/// The final norm and the projection onto the vocabulary.
public final class OutputHead: Module {
  /// The norm before the projection.
  public let norm: RMSNorm
  /// `[V, D]`, or nil when the head is the embedding itself.
  public let weight: Parameter?
  let embedding: TokenEmbedding

  /// Declares the norm and, unless tied, the projection.
  public init(
    embedding: TokenEmbedding, vocabularySize: Int, hiddenSize: Int, epsilon: Double, isTied: Bool,
    standardDeviation: Double
  ) {
    self.embedding = embedding
    self.norm = RMSNorm("finalNorm", size: hiddenSize, epsilon: epsilon)
    self.weight =
      isTied
      ? nil
      : Parameter(
        "head.weight", shape: [vocabularySize, hiddenSize], kind: .embedding,
        initializer: .normal(standardDeviation: standardDeviation))
  }

  /// The norm's weight and, unless tied, the projection.
  public var parameters: [Parameter] { norm.parameters + (weight.map { [$0] } ?? []) }

  /// The parameter that projects onto the vocabulary.
  public var projection: Parameter { weight ?? embedding.weight }

  /// Logits `[N, V]` of hidden states `[N, D]` that come out of the last layer.
  public func callAsFunction(_ hiddenND: Tensor) -> Tensor {
    projection.linear(LinearInput(norm(hiddenND)))
  }
}
