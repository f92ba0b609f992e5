public import Torch

/// What one forward pass knows about its pack beside the hidden states.
public final class ForwardContext {
  /// Where samples start and end in the pack, `[N + 1]` int64 on the host.
  public let bounds: Tensor
  /// The rotary table of the pack's positions.
  public let rotary: RotaryTable
  /// Weights of the router's auxiliary losses.
  public var routerLoss: RouterLossWeights
  /// Tokens of the whole optimizer step, over all ranks and micro-batches: the divisor of the
  /// auxiliary losses.
  public var stepTokenCount: Int
  /// The key-value cache of a generation; nil in training.
  public var cache: KeyValueCache?

  /// A context of one pack.
  public init(
    bounds: Tensor, rotary: RotaryTable, routerLoss: RouterLossWeights = .none,
    stepTokenCount: Int, cache: KeyValueCache? = nil
  ) {
    self.bounds = bounds
    self.rotary = rotary
    self.routerLoss = routerLoss
    self.stepTokenCount = stepTokenCount
    self.cache = cache
  }
}

/// Weights of the router's auxiliary losses; zero switches one off.
public struct RouterLossWeights: Sendable, Hashable {
  /// Weight of the balance loss.
  public var balance: Double
  /// Weight of the router's z-loss.
  public var z: Double

  /// Weights of both losses.
  public init(balance: Double, z: Double) {
    self.balance = balance
    self.z = z
  }

  /// No auxiliary loss.
  public static let none = RouterLossWeights(balance: 0, z: 0)
}
