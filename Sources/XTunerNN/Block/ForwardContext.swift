public import Torch

/// What a block's forward pass knows about its pack beside the hidden states.
///
/// Blocks that see a pack in the same way share one; those with other rotary tables or other bounds
/// have their own.
public final class ForwardContext {
  /// Where samples start and end in the pack, `[N + 1]` int64 on the host.
  public let bounds: Tensor
  /// The rotary table of the tokens of this rank.
  public let rotary: RotaryTable
  /// The key-value cache of a generation; nil in training.
  public let cache: KeyValueCache?
  /// Which of equal slices of the heads attention computes; the only one unless a sequence is spread
  /// over ranks.
  public var headSlice: (index: Int, count: Int) = (0, 1)
  /// Which sums for auxiliary losses are read; a stage does not compute the others.
  public var wantedSums: Set<StageValue> = []
  private var settings = ValuesByType()

  /// A context of one pack.
  public init(bounds: Tensor, rotary: RotaryTable, cache: KeyValueCache? = nil) {
    self.bounds = bounds
    self.rotary = rotary
    self.cache = cache
  }

  /// What a kind of part is told, by the type that the part declares for it; nil where it is told
  /// nothing.
  public subscript<Setting>(type: Setting.Type) -> Setting? {
    get { settings[type] }
    set { settings[type] = newValue }
  }
}
