public import Torch

/// What one forward pass knows about its pack beside the hidden states.
public final class ForwardContext {
  /// Where samples start and end in the pack, `[N + 1]` int64 on the host.
  public let bounds: Tensor
  /// The rotary table of the tokens of this rank.
  public let rotary: RotaryTable
  /// The key-value cache of a generation; nil in training.
  public var cache: KeyValueCache?
  /// Which of equal slices of the heads attention computes; the only one unless a sequence is spread
  /// over ranks.
  public var headSlice: (index: Int, count: Int) = (0, 1)
  /// Which of the router's sums a loss reads; the others are not computed.
  public var wantedSums: Set<StageValue> = []
  /// Experts chosen by rule and not by the router, for benchmarks only.
  public var forcedRouting: ForcedRouting?

  /// A context of one pack.
  public init(bounds: Tensor, rotary: RotaryTable, cache: KeyValueCache? = nil) {
    self.bounds = bounds
    self.rotary = rotary
    self.cache = cache
  }
}

/// A choice of experts that does not depend on the router, so that benchmarks have a known load.
public enum ForcedRouting: String, Sendable, Hashable, CaseIterable {
  /// Token t gets the experts t K, t K + 1, ... modulo the expert count: equal loads.
  case uniform
  /// Experts of each token are drawn without repetition, the same on every run.
  case random
}
