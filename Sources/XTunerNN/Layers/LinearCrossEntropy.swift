public import Torch

// Shape legend for this file:
//   T positions   N positions with a target   C positions of a chunk   D hidden   V vocabulary

/// Cross-entropy of the head's logits, in chunks: `[T, V]` is never in memory.
///
/// For each chunk the logits, the loss and their gradient are computed at once; what is kept is the
/// gradient of the hidden state and the float32 sum of the head's gradient.
public struct LinearCrossEntropy: Sendable {
  /// Positions of a chunk.
  public var chunkSize: Int
  /// Weight of the squared log-sum-exp of each position's logits; zero switches it off.
  public var zLoss: Double

  /// Losses with chunks of `chunkSize` positions.
  public init(chunkSize: Int, zLoss: Double = 0) {
    precondition(chunkSize > 0, "the chunk size must be positive, is \(chunkSize)")
    self.chunkSize = chunkSize
    self.zLoss = zLoss
  }

  /// The positions that have a target, with their weights.
  public struct Targets {
    /// Which positions have a target, `[N]` int64.
    public let positionsN: Tensor
    /// Their target tokens, `[N]` int64.
    public let tokensN: Tensor
    /// The weight of each in the loss, `[N]` float32: already divided by the step's divisor.
    public let weightsN: Tensor

    /// Targets of one micro-batch.
    public init(positionsN: Tensor, tokensN: Tensor, weightsN: Tensor) {
      self.positionsN = positionsN
      self.tokensN = tokensN
      self.weightsN = weightsN
    }
  }

  /// The loss and its gradients.
  public struct Result {
    /// The weighted sum of the negative log-likelihoods, a float32 scalar.
    public let loss: Tensor
    /// The weighted sum of the z-losses, a float32 scalar.
    public let zLoss: Tensor
    /// Gradient of the hidden states, `[T, D]`, of their dtype.
    public let hiddenGradient: Tensor
  }

  /// Computes the loss of `hiddenTD` (after the final norm) and adds the head's gradient to
  /// `headGradient`, `[V, D]` float32; `product` says what is multiplied with the head.
  ///
  /// With `quantizedVD`, the head in blocks, elements of `headVD` are not read.
  public func lossAndGradient(
    hiddenTD: Tensor, headVD: Tensor, product: Parameter.Product = .compute,
    quantizedVD: Float8Tensor? = nil, targets: Targets, headGradient: Tensor
  ) -> Result {
    withoutGradients {
      let head = HeadProducts(headVD, product, quantizedVD)
      let loss = Tensor.zeros([], dtype: .float32, device: hiddenTD.device)
      let zLossSum = Tensor.zeros([], dtype: .float32, device: hiddenTD.device)
      let gradientTD = hiddenTD.zerosLike(dtype: nil, device: hiddenTD.device)
      forEachChunk(hiddenTD, targets) { hiddenCD, positions, tokens, weights in
        // The logits become their own gradient.
        let gradient = head.logits(hiddenCD)
        let (lossesC, logSumExpC) = gradient.takeCrossEntropyGradient(
          targets: tokens, weights: weights, zLoss: zLoss)
        loss.add((lossesC * weights).sum())
        if zLoss > 0 {
          zLossSum.add((logSumExpC * logSumExpC * weights).sum() * zLoss)
        }
        gradientTD.copyRows(
          dim: 0, index: positions, source: head.hiddenGradient(gradient))
        head.addGradient(gradient, hiddenCD, to: headGradient)
      }
      return Result(loss: loss, zLoss: zLossSum, hiddenGradient: gradientTD)
    }
  }

  /// The weighted sum of the negative log-likelihoods, without gradients.
  public func loss(
    hiddenTD: Tensor, headVD: Tensor, product: Parameter.Product = .compute,
    quantizedVD: Float8Tensor? = nil, targets: Targets
  ) -> Tensor {
    withoutGradients {
      let head = HeadProducts(headVD, product, quantizedVD)
      let loss = Tensor.zeros([], dtype: .float32, device: hiddenTD.device)
      forEachChunk(hiddenTD, targets) { hiddenCD, _, tokens, weights in
        let (lossesC, _) = head.logits(hiddenCD).crossEntropy(targets: tokens)
        loss.add((lossesC * weights).sum())
      }
      return loss
    }
  }

  private func forEachChunk(
    _ hiddenTD: Tensor, _ targets: Targets,
    _ body: (_ hiddenCD: Tensor, _ positions: Tensor, _ tokens: Tensor, _ weights: Tensor) -> Void
  ) {
    let count = targets.positionsN.size(0)
    var start = 0
    while start < count {
      let length = min(chunkSize, count - start)
      let positions = targets.positionsN.narrowed(dim: 0, start: start, length: length)
      body(
        hiddenTD.selectingRows(dim: 0, index: positions), positions,
        targets.tokensN.narrowed(dim: 0, start: start, length: length),
        targets.weightsN.narrowed(dim: 0, start: start, length: length))
      start += length
    }
  }
}
